"""Controls that see nothing, hear nothing, or read no word order: what a test's texts give away by themselves."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from mmcontrast.evaluate.metrics.ranks import Similarity


def by_length(texts: list[str]) -> Similarity:
    """Scores of targets that are texts: the longer the better, whatever is asked.

    In SugarCrepe's add-object part the wrong caption is the longer one 99 times in 100; here the right one may be.
    """
    lengths = torch.tensor([float(len(text)) for text in texts])

    def similarity(queries: Tensor, targets: Tensor) -> Tensor:
        return lengths.expand(len(queries), -1).clone()

    return similarity


def bag_of_words(text: str) -> str:
    """The same words in alphabetical order: what is left without word order and punctuation."""
    return " ".join(sorted(re.findall(r"[\w'-]+", text.lower())))
