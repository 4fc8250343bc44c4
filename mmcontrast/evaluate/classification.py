"""Classification metrics from true and predicted class ids: pure functions of tensors.

Letters: Q rows, C classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def confusion_counts(true: Int[Tensor, " Q"], predicted: Int[Tensor, " Q"], *, classes: int) -> Int[Tensor, "C C"]:
    """Rows of each true class (down) by predicted class (across)."""
    return torch.bincount(true * classes + predicted, minlength=classes * classes).view(classes, classes)


def class_weights(true: Int[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    """Weight of each row under which the mean hit is the mean per-class recall; weights average to 1."""
    _, inverse, counts = torch.unique(true, return_inverse=True, return_counts=True)
    return len(true) / (len(counts) * counts[inverse].float())


def mean_class_recall(true: Int[Tensor, " Q"], predicted: Int[Tensor, " Q"]) -> float:
    """Mean over the classes that have rows of the share of rows found: balanced accuracy."""
    return float(((predicted == true).float() * class_weights(true)).mean())


def per_class(names: list[str], true: Int[Tensor, " Q"], predicted: Int[Tensor, " Q"]) -> dict[str, tuple[float, int]]:
    """Accuracy and number of rows of every class that has rows."""
    counts = torch.bincount(true, minlength=len(names))
    hits = torch.bincount(true, weights=(predicted == true).double(), minlength=len(names))
    return {
        name: (float(hit / count), int(count))
        for name, hit, count in zip(names, hits, counts, strict=True)
        if count > 0
    }


def most_confused(
    names: list[str], true: Int[Tensor, " Q"], predicted: Int[Tensor, " Q"], *, keep: int
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes that happen at least twice: (true, taken for, rows)."""
    wrong = torch.stack([true, predicted], dim=1)[true != predicted]
    if len(wrong) == 0:
        return []
    pairs, counts = torch.unique(wrong, dim=0, return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:keep]
    return [
        (names[int(pairs[at, 0])], names[int(pairs[at, 1])], int(counts[at])) for at in order if int(counts[at]) > 1
    ]


def majority_share(true: Int[Tensor, " Q"]) -> float:
    """Accuracy of always answering the most frequent class."""
    return float(torch.bincount(true).max()) / len(true)
