"""Classification metrics from scores, or from true and predicted class ids: pure functions of tensors.

Letters: Q rows, C classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast.evaluate.metrics.compat import check_compat
from mmcontrast.evaluate.metrics.finite import check_finite


def label_ranks(scores: Float[Tensor, "Q C"], true: Int[Tensor, " Q"]) -> Int[Tensor, " Q"]:
    """Rank of each row's true class, 1 is best; a tie counts against it.

    Raises:
        MetricError: a score is NaN, or a class id is outside the scores.
    """
    check_finite(scores, what="scores", axes=("row", "class"))
    return (scores.float() >= scores.float().gather(1, true[:, None])).sum(dim=1)


def top_k(
    scores: Float[Tensor, "Q C"], true: Int[Tensor, " Q"], *, k: int, compat: str | None = None
) -> Float[Tensor, " Q"]:
    """1 where the true class is among the k best, strictly.  With k over the number of classes all rows are right.

    Args:
        compat: ``clip_benchmark`` or ``open_clip`` take torch.topk's order among equal scores.
    """
    check_compat(compat, ("clip_benchmark", "open_clip"), metric="top-k accuracy")
    k = min(k, scores.shape[1])
    if compat is None:
        return (label_ranks(scores, true) <= k).float()
    check_finite(scores, what="scores", axes=("row", "class"))
    return (scores.topk(k, dim=1).indices == true[:, None]).any(dim=1).float()


def expected_top_k(scores: Float[Tensor, "Q C"], true: Int[Tensor, " Q"], *, k: int) -> Float[Tensor, " Q"]:
    """Probability of a top-k hit when equal scores are ordered at random."""
    own = scores.float().gather(1, true[:, None])
    better = (scores.float() > own).sum(dim=1)
    ties = (scores.float() == own).sum(dim=1)  # the true class among them
    return ((k - better).float() / ties).clamp(0, 1)


def tie_rate(scores: Float[Tensor, "Q C"], true: Int[Tensor, " Q"]) -> float:
    """Share of rows whose true class ties with another one."""
    own = scores.float().gather(1, true[:, None])
    return float(((scores.float() == own).sum(dim=1) > 1).float().mean())


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
