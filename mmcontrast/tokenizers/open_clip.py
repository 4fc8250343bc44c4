"""CLIP's byte-pair tokenizer, from open_clip's package."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import config
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer

MAX_CHARACTERS = 20_000  # of a text; more could not fit any context


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
        ids = [self._inner.sot_token_id, *self._inner.encode(text[:MAX_CHARACTERS]), self._inner.eot_token_id]
        if len(ids) > context_length:
            ids = [*ids[: context_length - 1], self._inner.eot_token_id]
        return ids
