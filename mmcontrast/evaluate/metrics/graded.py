"""Ranking with graded relevance: nDCG, and the error of a graded order.

Letters: Q queries, M targets.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.finite import check_finite


def graded_ndcg(
    scores: Float[Tensor, "Q M"],
    relevance: Float[Tensor, "Q M"],
    *,
    k: int,
    gain: Literal["linear", "exponential"] = "linear",
) -> Float[Tensor, " Q"]:
    """Normalised discounted cumulative gain of each query's first k targets; with equal scores the worse comes first.

    Args:
        relevance: at least 0; 0 where a target was not judged for the query.
        gain: ``linear`` is trec_eval's and GCL's, ``exponential`` is 2^relevance - 1.

    Raises:
        MetricError: NaN, negative relevance, sizes that differ, or a query without a relevant target.

    Source: Jarvelin and Kekalainen 2002, ACM TOIS 20(4); used by Zhu et al. 2024, arXiv:2404.08535, section 4.
    """
    if scores.shape != relevance.shape:
        raise MetricError(f"scores are {tuple(scores.shape)}, relevance {tuple(relevance.shape)}: they must agree.")
    check_finite(scores, what="scores", axes=("query", "target"))
    check_finite(relevance, what="relevance", axes=("query", "target"))
    if (relevance < 0).any() or not (relevance > 0).any(dim=1).all():
        raise MetricError("relevance must be at least 0, and every query needs a target above 0.")
    k = min(k, scores.shape[1])
    gains = relevance.double() if gain == "linear" else torch.exp2(relevance.double()) - 1
    discount = 1 / torch.log2(torch.arange(2, k + 2).double())
    worst_first = gains.sort(dim=1, stable=True).indices
    order = scores.float().gather(1, worst_first).sort(dim=1, descending=True, stable=True).indices[:, :k]
    found = gains.gather(1, worst_first.gather(1, order))
    ideal = gains.topk(k, dim=1).values
    return ((found * discount).sum(dim=1) / (ideal * discount).sum(dim=1)).float()
