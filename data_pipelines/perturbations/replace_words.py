"""A word by another that does not fit: "a red ball" to "a blue ball"."""

from __future__ import annotations

import re

import numpy as np

from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import Perturbation
from mmcontrast.config import config
from mmcontrast.errors import ConfigError


@PERTURBATIONS.register("replace_words")
class ReplaceWords(Perturbation):
    """Replace one word by another of its set.

    Source: Hsieh et al. 2023, SugarCrepe, arXiv:2306.14610, whose replacements of attributes a set stands for.
    """

    @config
    class Config:
        """Sets of words that exclude one another."""

        sets: tuple[tuple[str, ...], ...] = (
            ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "brown", "pink", "grey"),
            ("large", "small"),
            ("loud", "soft"),
            ("high", "low"),
            ("rising", "falling"),
            ("left", "right"),
            ("above", "below"),
            ("before", "after"),
            ("one", "two", "three", "four", "five"),
        )

    def perturb(self, caption: str, rng: np.random.Generator) -> str | None:
        """Replace one word, drawn among those of any set."""
        others: dict[str, list[str]] = {}
        for words in self.config.sets:
            if len(words) < 2:
                raise ConfigError(f"replace_words: a set needs two words or more; got {list(words)}.")
            for word in words:
                others[word.lower()] = [each for each in words if each.lower() != word.lower()]
        found = [match for match in re.finditer(r"\w+", caption) if match.group().lower() in others]
        if not found:
            return None
        match = found[int(rng.integers(len(found)))]
        options = others[match.group().lower()]
        chosen = options[int(rng.integers(len(options)))]
        if match.group()[:1].isupper():
            chosen = chosen.capitalize()
        return caption[: match.start()] + chosen + caption[match.end() :]
