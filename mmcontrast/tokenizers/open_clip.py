"""CLIP's byte-pair tokenizer, with the merges that open_clip's package carries.

The package itself is not imported: that takes seconds, which every start would wait for.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import MissingPackage
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer
from mmcontrast.tokenizers.masking import Masking

MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
NUM_MERGES = 49_152 - 256 - 2  # the vocabulary that CLIP's models were trained with
WORD_END = "</w>"
SPECIAL = ("<start_of_text>", "<end_of_text>")  # also where a text spells them, as in open_clip
MAX_CHARACTERS = 20_000  # of a text that are cleaned; more could not fit any context
TOKEN_CHARACTERS = 32  # the longest byte pair has 28 letters, and spaces are single once cleaned
MAX_WORDS = 1 << 16  # whose ids are kept
PLAIN = re.compile(r"[ -%'-~]*")  # printable ASCII but "&": mending encodings and entities leaves it as it is


@TOKENIZERS.register("open_clip")
class OpenCLIP(Tokenizer):
    """Start token, byte pairs of the lower-case text, end token; without padding.

    Relations: the output of open_clip's SimpleTokenizer, up to the zeros that it pads with.
    Source: Radford et al. 2021, arXiv:2103.00020, section 2.4; Sennrich et al. 2016, arXiv:1508.07909, section 3.2.
    """

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        import regex

        contractions = r"'s|'t|'re|'ve|'m|'ll|'d"
        self._words = regex.compile(
            "|".join([*SPECIAL, contractions, r"\p{L}+", r"\p{N}", r"[^\s\p{L}\p{N}]+"]), regex.IGNORECASE
        )
        self._pairs = read_pairs()
        self._start, self._end = (self._pairs.ids[name] for name in SPECIAL)
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return start, byte pairs and end; a long text is cut, and its last id is the end token."""
        text = _clean(text[:MAX_CHARACTERS])
        ids = [self._start]
        # Merging costs the square of a word's length, so letters that no id could reach are cut off first.
        for word in self._words.findall(text[: TOKEN_CHARACTERS * context_length]):
            ids += self._known.get(word) or self._encode_word(word)
        ids.append(self._end)
        if len(ids) > context_length:
            ids = [*ids[: context_length - 1], self._end]
        return ids

    def masking(self) -> Masking:
        """Behind the last byte pair, the rarest of all: CLIP's vocabulary has no mask, and towers no row for one."""
        return Masking(self._start - 1, frozenset((self._start, self._end)), self._start - 2)

    @property
    def size(self) -> int:
        """Byte pairs, start and end."""
        return len(self._pairs.ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Words of byte pairs, lower-case as they were read; bytes that are no text become the replacement mark."""
        joined = "".join(self._names.get(each, "") for each in ids).replace(WORD_END, " ")
        text = b"".join(b" " if each == " " else bytes([self._bytes[each]]) for each in joined)
        return text.decode("utf-8", "replace").strip()

    @cached_property
    def _names(self) -> dict[int, str]:
        """Id -> its byte pair, start and end left out."""
        return {number: token for token, number in self._pairs.ids.items() if number not in (self._start, self._end)}

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """Printable letter -> the byte that it stands for."""
        return {letter: byte for byte, letter in enumerate(self._pairs.letters)}

    def _encode_word(self, word: str) -> list[int]:
        if len(self._known) >= MAX_WORDS:
            self._known.clear()
        ids = self._known[word] = self._pairs.encode(word)
        return ids


@dataclass(frozen=True)
class BytePairs:
    """A vocabulary of byte pairs."""

    letters: tuple[str, ...]  # byte -> the printable letter that stands for it
    ranks: dict[tuple[str, str], int]  # pair -> how early it is merged
    ids: dict[str, int]

    def encode(self, word: str) -> list[int]:
        """Ids of one word: of all neighbours, the pair of the lowest rank is joined, until none is left."""
        if word in SPECIAL:
            return [self.ids[word]]
        parts = [self.letters[byte] for byte in word.encode("utf-8")]
        parts[-1] += WORD_END
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self.ranks.get(pair, NUM_MERGES))
            if best not in self.ranks:
                break
            parts = _joined(parts, best)
        return [self.ids[part] for part in parts]


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """Join every occurrence of a pair, from left to right."""
    found, place = [], 0
    while place < len(parts):
        if tuple(parts[place : place + 2]) == pair:
            found.append(pair[0] + pair[1])
            place += 2
        else:
            found.append(parts[place])
            place += 1
    return found


@lru_cache(maxsize=1)
def read_pairs() -> BytePairs:
    """Read CLIP's byte pairs, once a process.

    Raises:
        MissingPackage: open_clip is not installed.
    """
    found = importlib.util.find_spec("open_clip")  # finds the folder; imports nothing
    if found is None or not found.submodule_search_locations:
        raise MissingPackage("the open_clip tokenizer reads its merges from a package: pip install open_clip_torch.")
    lines = gzip.decompress((Path(found.submodule_search_locations[0]) / MERGES_FILE).read_bytes()).decode("utf-8")
    merges = [tuple(line.split()) for line in lines.split("\n")[1 : NUM_MERGES + 1]]
    # Bytes that print stand for themselves and come first; the others, for letters from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    single = list(letters.values())
    tokens = [*single, *(letter + WORD_END for letter in single), *map("".join, merges), *SPECIAL]
    return BytePairs(
        letters=tuple(letters[byte] for byte in range(256)),
        ranks={(first, second): rank for rank, (first, second) in enumerate(merges)},
        ids={token: number for number, token in enumerate(tokens)},
    )


def _clean(text: str) -> str:
    """Mend encodings, resolve entities (twice, as the source does), join blanks, lower the case."""
    if not PLAIN.fullmatch(text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
