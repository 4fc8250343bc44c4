"""Exchange two words of one kind: "a dog chases a cat" to "a cat chases a dog"."""

from __future__ import annotations

from typing import Literal

import numpy as np

from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import Perturbation
from mmcontrast.config import config
from mmcontrast.language.taggers.base import build_tagger
from mmcontrast.language.words import exchanged


@PERTURBATIONS.register("swap_words")
class SwapWords(Perturbation):
    """Swap two different words of one part of speech, in English.

    Source: Yuksekgonul et al. 2023, NegCLIP, arXiv:2210.01936, without its swaps of whole noun phrases.
    """

    @config
    class Config:
        """Which words."""

        parts: tuple[Literal["noun", "verb", "adjective", "adverb"], ...] = ("noun", "adjective", "verb", "adverb")
        tagger: str = "hanta"  # what tells parts of speech: 'mmcontrast list taggers'

    def perturb(self, caption: str, rng: np.random.Generator) -> str | None:
        """Swap one pair, drawn among all."""
        words = build_tagger(self.config.tagger).tag(caption)
        pairs = [
            ((first.start, first.end), (second.start, second.end))
            for place, first in enumerate(words)
            for second in words[place + 1 :]
            if first.part == second.part
            and first.part in self.config.parts
            and first.text.lower() != second.text.lower()
        ]
        return exchanged(caption, *pairs[int(rng.integers(len(pairs)))]) if pairs else None
