"""CLIP's byte-pair tokenizer, from open_clip's package."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import config
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer

MAX_CHARACTERS = 20_000  # of a text that are cleaned; more could not fit any context
TOKEN_CHARACTERS = 32  # the longest byte pair has 28 letters, and spaces are single once cleaned


@TOKENIZERS.register("open_clip")
class OpenCLIP(Tokenizer):
    """open_clip's SimpleTokenizer: start token, byte pairs, end token; without padding.

    Relations: open_clip's own output, up to the zeros that it pads with.
    Source: Radford et al. 2021, arXiv:2103.00020, section 2.4.
    """

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        from open_clip.tokenizer import SimpleTokenizer

        self._inner = SimpleTokenizer()

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return start, byte pairs and end; a long text is cut, and its last id is the end token."""
        # Merging costs the square of a word's length, so letters that no id could reach are cut off first.
        text = self._inner.clean_fn(text[:MAX_CHARACTERS])[: TOKEN_CHARACTERS * context_length]
        ids = [self._inner.sot_token_id, *self._inner.encode(text), self._inner.eot_token_id]
        if len(ids) > context_length:
            ids = [*ids[: context_length - 1], self._inner.eot_token_id]
        return ids
