"""Ranking with graded relevance: nDCG, expected reciprocal rank, rank-biased precision.

Letters: Q queries, M targets.  With equal scores the less relevant target comes first.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.finite import check_finite

Gain = Literal["linear", "exponential"]


def found_relevance(scores: Float[Tensor, "Q M"], relevance: Float[Tensor, "Q M"], *, k: int) -> Float[Tensor, "Q k"]:
    """Relevance of each query's first k targets, in the order of their scores, in float64.

    Args:
        relevance: at least 0; 0 where a target was not judged for the query.

    Raises:
        MetricError: NaN, negative relevance, sizes that differ, or a query without a relevant target.
    """
    if scores.shape != relevance.shape:
        raise MetricError(f"scores are {tuple(scores.shape)}, relevance {tuple(relevance.shape)}: they must agree.")
    check_finite(scores, what="scores", axes=("query", "target"))
    check_finite(relevance, what="relevance", axes=("query", "target"))
    if (relevance < 0).any() or not (relevance > 0).any(dim=1).all():
        raise MetricError("relevance must be at least 0, and every query needs a target above 0.")
    worst_first = relevance.sort(dim=1, stable=True).indices
    order = scores.float().gather(1, worst_first).sort(dim=1, descending=True, stable=True).indices
    return relevance.double().gather(1, worst_first.gather(1, order[:, : min(k, scores.shape[1])]))


def graded_ndcg(
    scores: Float[Tensor, "Q M"], relevance: Float[Tensor, "Q M"], *, k: int, gain: Gain = "linear"
) -> Float[Tensor, " Q"]:
    """Normalised discounted cumulative gain of each query's first k targets.

    Args:
        gain: ``linear`` is trec_eval's and GCL's, ``exponential`` is 2^relevance - 1.

    Raises:
        MetricError: as :func:`found_relevance`.

    Source: Jarvelin and Kekalainen 2002, ACM TOIS 20(4); used by Zhu et al. 2024, arXiv:2404.08535, section 4.
    """
    found = _gains(found_relevance(scores, relevance, k=k), gain)
    discount = _discount(found.shape[1])
    return ((found * discount).sum(dim=1) / _ideal(relevance, discount, gain)).float()


def ndcg_by_chance(relevance: Float[Tensor, "Q M"], *, k: int, gain: Gain = "linear") -> Float[Tensor, " Q"]:
    """What a random order of all targets gets on average."""
    discount = _discount(min(k, relevance.shape[1]))
    mean = _gains(relevance.double(), gain).mean(dim=1)
    return (mean * discount.sum() / _ideal(relevance, discount, gain)).float()


def expected_reciprocal_rank(
    scores: Float[Tensor, "Q M"], relevance: Float[Tensor, "Q M"], *, depth: int = 1000
) -> Float[Tensor, " Q"]:
    """Mean of 1 / rank where a reader stops, satisfied by relevance r with probability (2^r - 1) / 2^(largest r).

    Source: Chapelle et al. 2009, CIKM, algorithm 2, the largest being each query's own, as GCL's code has it.
    """
    found = found_relevance(scores, relevance, k=depth)
    largest = relevance.double().max(dim=1, keepdim=True).values
    stops = torch.exp2(found - largest) - torch.exp2(-largest)
    goes_on = torch.cat([torch.ones_like(stops[:, :1]), (1 - stops).cumprod(dim=1)[:, :-1]], dim=1)
    ranks = torch.arange(1, found.shape[1] + 1).double()
    return (goes_on * stops / ranks).sum(dim=1).float()


def rank_biased_precision(
    scores: Float[Tensor, "Q M"], relevance: Float[Tensor, "Q M"], *, persistence: float = 0.9, depth: int = 1000
) -> Float[Tensor, " Q"]:
    """Mean relevance, as a share of the query's largest, for a reader who goes on with this probability.

    Source: Moffat and Zobel 2008, ACM TOIS 27(1), equation 6, with graded relevance.
    """
    found = found_relevance(scores, relevance, k=depth)
    share = found / relevance.double().max(dim=1, keepdim=True).values
    weight = (1 - persistence) * persistence ** torch.arange(found.shape[1]).double()
    return (share * weight).sum(dim=1).float()


def _gains(relevance: Tensor, gain: Gain) -> Tensor:
    return relevance if gain == "linear" else torch.exp2(relevance) - 1


def _discount(k: int) -> Tensor:
    return 1 / torch.log2(torch.arange(2, k + 2).double())


def _ideal(relevance: Tensor, discount: Tensor, gain: Gain) -> Tensor:
    return (_gains(relevance.double(), gain).topk(len(discount), dim=1).values * discount).sum(dim=1)
