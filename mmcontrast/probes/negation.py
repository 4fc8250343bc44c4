"""Does "no" mean no?  Captions denied, and what is there against what is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmcontrast.config import Count, config
from mmcontrast.language.negation import denied, hybrid, negated
from mmcontrast.language.words import Word
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Captioned, TextConfig
from mmcontrast.probes.captions import CaptionMaker, Made

TRIES = 16


@MAKERS.register("negation")
class Negation(CaptionMaker):
    """What is there, against its denial; and which of two things is denied.

    ``affirmed``: the caption, or the caption denied.  ``denied``: "no dog", or "no cat", of a cat.  ``hybrid``: "a cat
    but no dog", or "a dog but no cat": the same words.  The last two take another row's caption, which shares no word
    with this row's captions, and they are asked of captions of at most ``most_words`` words.  That the other thing is
    absent is an assumption; it fails where captions leave out what can be seen.

    Source: Alhamoud et al. 2025, NegBench, arXiv:2501.09425 (affirmed, negated and hybrid choices).
    """

    @config
    class Config(TextConfig):
        """Fields of the maker."""

        most_words: Count = 4  # of captions that are taken as the name of a thing

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """Up to three questions."""
        words = self.tagger.tag(caption)
        said = negated(caption, words)
        if said is None:
            self.counts["nothing_to_deny"] += 1
            return
        yield Made("affirmed", [caption, said])
        if not self._is_name(caption, words):
            self.counts["no_name"] += 1
            return
        other = self._absent(row, rng)
        if other is None:
            self.counts["nothing_absent"] += 1
            return
        yield Made("denied", [denied(other), denied(caption)])
        yield Made("hybrid", [hybrid(caption, other), hybrid(other, caption)])

    def _absent(self, row: Captioned, rng: np.random.Generator) -> str | None:
        taken = {word.lower() for text in row.captions for word in text.split() if len(word) > 2}
        for _ in range(TRIES):
            other = self.rows[int(rng.integers(len(self.rows)))]
            name = other.captions[0]
            words = self.tagger.tag(name)
            theirs = {word.lower() for text in other.captions for word in text.split() if len(word) > 2}
            if not taken & theirs and self._is_name(name, words) and negated(name, words) is not None:
                return name
        return None

    def _is_name(self, caption: str, words: list[Word]) -> bool:
        """Whether a caption can stand behind "no": few words, one of them a noun, and no marks."""
        whole = all(word.text[:1].isalnum() for word in words)
        return whole and len(words) <= self.config.most_words and any(word.part == "noun" for word in words)
