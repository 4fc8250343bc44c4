"""Agreement of similarities with people's judgements, as semantic textual similarity is scored."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.finite import check_finite


def mean_ranks(values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Rank of each value from 1, equal values sharing the mean of their places."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]


def pearson(a: Float[Tensor, " N"], b: Float[Tensor, " N"]) -> float:
    """Linear correlation; 0 when either side is constant, where it is not defined.

    Raises:
        MetricError: NaN, fewer than two rows, or sizes that differ.
    """
    if a.shape != b.shape or len(a) < 2:
        raise MetricError(f"a correlation needs two rows at least and equal sizes, got {len(a)} and {len(b)}.")
    for name, values in (("scores", a), ("judgements", b)):
        check_finite(values, what=name, axes=("row",))
    x, y = a.double() - a.double().mean(), b.double() - b.double().mean()
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 0 else 0.0


def spearman(a: Float[Tensor, " N"], b: Float[Tensor, " N"]) -> float:
    """Rank correlation: the correlation of mean ranks; 0 when either side is constant."""
    if a.shape != b.shape or len(a) < 2:
        raise MetricError(f"a correlation needs two rows at least and equal sizes, got {len(a)} and {len(b)}.")
    for name, values in (("scores", a), ("judgements", b)):
        check_finite(values, what=name, axes=("row",))
    return pearson(mean_ranks(a), mean_ranks(b))
