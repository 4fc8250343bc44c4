"""Exchange two words of one kind: "a dog chases a cat" to "a cat chases a dog"."""

from __future__ import annotations

from typing import Literal

import numpy as np

from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import Perturbation
from data_pipelines.tagger import Word, tag
from mmcontrast.config import config


@PERTURBATIONS.register("swap_words")
class SwapWords(Perturbation):
    """Swap two different words of one part of speech, in English.

    Source: Yuksekgonul et al. 2023, NegCLIP, arXiv:2210.01936, without its swaps of whole noun phrases.
    """

    @config
    class Config:
        """Which words."""

        parts: tuple[Literal["noun", "verb", "adjective", "adverb"], ...] = ("noun", "adjective", "verb", "adverb")

    def perturb(self, caption: str, rng: np.random.Generator) -> str | None:
        """Swap one pair, drawn among all."""
        words = tag(caption)
        pairs = [
            (first, second)
            for place, first in enumerate(words)
            for second in words[place + 1 :]
            if first.part == second.part
            and first.part in self.config.parts
            and first.text.lower() != second.text.lower()
        ]
        return swap(caption, *pairs[int(rng.integers(len(pairs)))]) if pairs else None


def swap(caption: str, first: Word, second: Word) -> str:
    """The caption with two words exchanged; a capital at its start stays at its start."""
    one, other = first.text, second.text
    if first.start == 0 and one[:1].isupper() and one[1:].islower():
        one, other = one.lower(), other[:1].upper() + other[1:]
    between = caption[first.start + len(first.text) : second.start]
    return caption[: first.start] + other + between + one + caption[second.start + len(second.text) :]
