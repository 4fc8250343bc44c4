"""Average precision of multi-label classification.

Letters: Q rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.compat import check_compat
from mmcontrast.evaluate.metrics.finite import check_finite


@dataclass(frozen=True)
class AveragePrecisions:
    """One average precision a class; NaN where no row has the class."""

    values: Float[Tensor, " C"]
    positives: Float[Tensor, " C"]
    tie_rate: float  # share of positive cells whose score a negative of the same class has too

    @property
    def macro(self) -> float:
        """Mean over the classes that have a positive row: the usual mAP."""
        return float(self.values[self.positives > 0].mean())

    @property
    def empty(self) -> int:
        """Classes that no row has; they are not in the mean."""
        return int((self.positives == 0).sum())


def average_precisions(
    scores: Float[Tensor, "Q C"],
    labels: Bool[Tensor, "Q C"],
    *,
    among: Bool[Tensor, "Q C"] | None = None,
    compat: str | None = None,
) -> AveragePrecisions:
    """Area under each class's step-wise precision-recall curve, rows of equal score entering together.

    Rows of one score share one threshold, so their order cannot matter (scikit-learn's definition).

    Args:
        among: rows that are ranked for each class; null: all.  A class's other rows do not count, positive or not.
        compat: ``clip_benchmark`` orders equal scores as torch.sort does, and gives a class without positives 0,
            which then counts in the mean.

    Raises:
        MetricError: NaN scores, sizes that differ, or no positive at all among the rows that are ranked.
    """
    check_compat(compat, ("clip_benchmark",), metric="average precision")
    if scores.shape != labels.shape:
        raise MetricError(f"scores are {tuple(scores.shape)}, labels {tuple(labels.shape)}: they must agree.")
    check_finite(scores, what="scores", axes=("row", "class"))
    among = torch.ones_like(labels) if among is None else among
    if among.shape != labels.shape:
        raise MetricError(f"labels are {tuple(labels.shape)}, rows to rank {tuple(among.shape)}: they must agree.")
    if not (labels & among).any():
        raise MetricError("no row has any of the classes.")
    positives = (labels & among).sum(dim=0).double()
    columns = [
        _one(scores[ranked, number].float(), labels[ranked, number], compat)
        for number, ranked in enumerate(among.unbind(1))
    ]
    values, tied = torch.stack([value for value, _ in columns]), sum(ties for _, ties in columns)
    if compat == "clip_benchmark":
        return AveragePrecisions(values.nan_to_num(0), positives.clamp_min(1), tied / float(positives.sum()))
    return AveragePrecisions(values, positives, tied / float(positives.sum()))


def _one(scores: Tensor, labels: Tensor, compat: str | None) -> tuple[Tensor, int]:
    """Average precision of one class, and its positives that tie with a negative."""
    total = int(labels.sum())
    if total == 0:
        return torch.tensor(float("nan"), dtype=torch.float64), 0
    ordered, order = scores.sort(descending=True)
    hits = labels[order].double()
    if compat == "clip_benchmark":
        precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
        return (precision * hits).sum() / total, 0
    _, counts = torch.unique_consecutive(ordered, return_counts=True)
    ends = counts.cumsum(0)
    found = hits.cumsum(0)[ends - 1]
    gained = torch.diff(found, prepend=found.new_zeros(1))
    mixed = (gained > 0) & (gained < counts)
    return (gained * found / ends).sum() / total, int(gained[mixed].sum())
