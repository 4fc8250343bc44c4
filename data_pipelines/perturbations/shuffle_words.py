"""All words in another order: what a bag of words cannot tell."""

from __future__ import annotations

import numpy as np

from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import Perturbation
from mmcontrast.config import config

TRIES = 16


@PERTURBATIONS.register("shuffle_words")
class ShuffleWords(Perturbation):
    """Shuffle the words, split at spaces.

    Source: Yuksekgonul et al. 2023, ARO, arXiv:2210.01936, shuffles words of captions for its order tasks.
    """

    @config
    class Config:
        """Nothing to choose."""

    def perturb(self, caption: str, rng: np.random.Generator) -> str | None:
        """Another order; None for one word, or words that are all the same."""
        words = caption.split()
        if len({word.lower() for word in words}) < 2:
            return None
        for _ in range(TRIES):
            shuffled = [words[place] for place in rng.permutation(len(words))]
            if [word.lower() for word in shuffled] != [word.lower() for word in words]:
                return " ".join(shuffled)
        return " ".join(reversed(words)) if words != words[::-1] else None
