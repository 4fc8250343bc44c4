"""CLIP's byte-pair tokenizer, from open_clip's package."""

from __future__ import annotations

import re
from typing import Any

from mmcontrast.config import config
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer

MAX_CHARACTERS = 20_000  # of a text that are cleaned; more could not fit any context
TOKEN_CHARACTERS = 32  # the longest byte pair has 28 letters, and spaces are single once cleaned
MAX_WORDS = 1 << 16  # whose ids are kept; the package itself keeps every word it ever sees
PLAIN = re.compile(r"[ -%'-~]*")  # printable ASCII but "&": mending encodings and entities leaves it as it is


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
        self._words: dict[str, list[int]] = {}

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return start, byte pairs and end; a long text is cut, and its last id is the end token."""
        inner, text = self._inner, text[:MAX_CHARACTERS]
        text = " ".join(text.split()).lower() if PLAIN.fullmatch(text) else inner.clean_fn(text)
        ids = [inner.sot_token_id]
        # Merging costs the square of a word's length, so letters that no id could reach are cut off first.
        for word in inner.pat.findall(text[: TOKEN_CHARACTERS * context_length]):
            ids += self._words.get(word) or self._encode_word(word)
        ids.append(inner.eot_token_id)
        if len(ids) > context_length:
            ids = [*ids[: context_length - 1], inner.eot_token_id]
        return ids

    def _encode_word(self, word: str) -> list[int]:
        inner = self._inner
        if len(self._words) >= MAX_WORDS:
            self._words.clear()
            inner.cache = {token: token for token in ("<start_of_text>", "<end_of_text>")}
        letters = "".join(inner.byte_encoder[byte] for byte in word.encode("utf-8"))
        ids = self._words[word] = [inner.encoder[part] for part in inner.bpe(letters).split(" ")]
        return ids
