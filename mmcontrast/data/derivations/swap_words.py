"""The caption that the row is shown with, two of its words exchanged: a negative that a bag of words cannot tell."""

from __future__ import annotations

import re
from typing import ClassVar

from mmcontrast.config import Count, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original

MOST_WORDS = 64  # that are looked at: pairs grow with the square
_WORD = re.compile(r"\w+(?:['-]\w+)*")


@DERIVATIONS.register("swap_words")
class SwapWords(Derivation):
    """Exchange two different words of at least ``shortest`` letters, drawn at random; none without two of them.

    Relations: ``mmcontrast-data``'s perturbation of the same name swaps words of one part of speech, offline: better
    negatives, which a manifest names as a column of their own.
    Source: Yuksekgonul et al. 2023, NegCLIP, arXiv:2210.01936, without its tagger.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "text"  # column whose caption is swapped
        shortest: Count = 3  # letters: leaves out articles and most prepositions

    def derive(self, original: Original, make_rng: MakeGenerator) -> str | None:
        """Swap."""
        text: str = original.value
        words = [found for found in _WORD.finditer(text) if len(found.group()) >= self.config.shortest]
        words = words[:MOST_WORDS]
        pairs = [
            (first, second)
            for place, first in enumerate(words)
            for second in words[place + 1 :]
            if first.group().lower() != second.group().lower()
        ]
        if not pairs:
            return None
        first, second = pairs[int(make_rng().integers(0, len(pairs)))]
        between = text[first.end() : second.start()]
        return text[: first.start()] + second.group() + between + first.group() + text[second.end() :]
