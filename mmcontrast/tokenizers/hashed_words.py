"""Words by hash: no vocabulary to build, ship or lose."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from itertools import chain
from typing import Annotated

from annotated_types import Ge

from mmcontrast.config import config
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer
from mmcontrast.tokenizers.masking import Masking

_WORDS = re.compile(r"\w+|[^\w\s]")
MAX_CHARACTERS = 20_000  # of a text; more could not fit any context


@lru_cache(maxsize=1 << 16)
def word_id(word: str) -> int:
    """Map a word to 1 .. 2^31 - 1; 0 is the padding."""
    return zlib.crc32(word.encode("utf-8", "replace")) % (2**31 - 1) + 1


@TOKENIZERS.register("hashed_words")
class HashedWords(Tokenizer):
    """Lower-case words and punctuation marks, each as a 31-bit hash of its letters.

    With stems, a longer word is two tokens: itself and its first letters, so that a word never met (*mermaid*) shares
    one with its kin (*merman*).  Source: parts of words, Bojanowski et al. 2016, arXiv:1607.04606, of which prefixes
    are the cheapest.
    """

    @config
    class Config:
        """How a word becomes tokens."""

        stem_letters: Annotated[int, Ge(0)] = 0  # letters of a stem; only longer words get one; 0: no stems

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return the hashes of the first words; an empty text becomes one token."""
        words = _WORDS.findall(text[:MAX_CHARACTERS].lower())[:context_length]
        if self.config.stem_letters:
            words = list(chain.from_iterable(map(self._with_stem, words)))[:context_length]
        return [word_id(word) for word in words or [""]]

    def masking(self) -> Masking:
        """Behind the hash of a word that no text holds, or any hash."""
        return Masking(word_id("[MASK]"), frozenset(), 2**31 - 1)

    def _with_stem(self, word: str) -> tuple[str, ...]:
        letters = self.config.stem_letters
        return (word, f"{word[:letters]}-") if len(word) > letters else (word,)
