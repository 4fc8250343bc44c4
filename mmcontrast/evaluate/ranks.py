"""Ranks of right answers among all answers: pure functions of embeddings' scores, in float32, in tiles.

Letters: Q queries, M targets.  A tie with a wrong answer counts against the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Similarity = Callable[[Tensor, Tensor], Tensor]
TILE_CELLS = 1 << 24  # scores in memory at a time


@dataclass(frozen=True)
class Ranks:
    """Where the best right answer of each query stands."""

    first: Int[Tensor, " Q"]  # 1 is best; ties with wrong answers count against
    better: Int[Tensor, " Q"]  # wrong answers that score strictly higher
    ties: Int[Tensor, " Q"]  # wrong answers that score the same
    num_targets: int
    num_right: Int[Tensor, " Q"]  # right answers in the pool

    def hits(self, k: int) -> Float[Tensor, " Q"]:
        """1 where a right answer is among the first k, strictly."""
        return (self.first <= k).float()

    def expected(self, k: int) -> float:
        """Mean hit rate when ties are broken at random."""
        share = ((k - self.better).float() / (self.ties + 1)).clamp(0, 1)
        return float(share.mean())

    def reciprocal(self) -> Float[Tensor, " Q"]:
        """One over the rank of the best right answer; its mean is MRR."""
        return 1 / self.first.float()

    def tie_rate(self) -> float:
        """Share of queries whose best right answer ties with a wrong one."""
        return float((self.ties > 0).float().mean())

    def chance(self, k: int) -> float:
        """Hit rate at k of a random order: 1 - C(M - P, k) / C(M, k), averaged over queries."""
        result = 0.0
        for right, count in zip(*torch.unique(self.num_right, return_counts=True), strict=True):
            miss = 1.0
            for place in range(min(k, self.num_targets)):
                miss *= max(0.0, (self.num_targets - int(right) - place) / (self.num_targets - place))
            result += (1 - miss) * int(count)
        return result / len(self.first)


def rank_first(
    queries: Float[Tensor, "Q D"],
    targets: Float[Tensor, "M D"],
    query_ids: Int[Tensor, " Q"],
    target_ids: Int[Tensor, " M"],
    *,
    similarity: Similarity,
    tile_cells: int = TILE_CELLS,
) -> Ranks:
    """Rank each query's best right answer; a target is right when its id equals the query's.

    Right and wrong scores come from the same tile: another kernel's rounding would change ranks.

    Raises:
        ValueError: embeddings that are not finite, or a query without a right answer.
    """
    if not (torch.isfinite(queries).all() and torch.isfinite(targets).all()):
        raise ValueError("embeddings hold NaN or infinite values")
    rows = max(1, tile_cells // max(1, len(targets)))
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(queries), rows):
        scores = similarity(queries[start : start + rows], targets).float()
        right = query_ids[start : start + rows, None] == target_ids[None]
        if not right.any(dim=1).all():
            raise ValueError("a query has no right answer among the targets")
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        wrong = scores.masked_fill(right, -torch.inf)
        parts.append(((wrong > best).sum(1), (wrong == best).sum(1), right.sum(1)))
    better, ties, num_right = (torch.cat(column) for column in zip(*parts, strict=True))
    return Ranks(1 + better + ties, better, ties, len(target_ids), num_right)


@dataclass(frozen=True)
class TopOrder:
    """The first k answers of each query, ties broken against the right ones."""

    positions: Int[Tensor, "Q k"]
    scores: Float[Tensor, "Q k"]
    right: Int[Tensor, "Q k"]  # 1 where the answer is right
    num_right: Int[Tensor, " Q"]

    def recall(self) -> Float[Tensor, " Q"]:
        """Share of all right answers that are among the first k."""
        return self.right.sum(dim=1).float() / self.num_right

    def average_precision(self) -> Float[Tensor, " Q"]:
        """Average precision at k: precision at each right answer, over min(k, number of right answers)."""
        places = torch.arange(1, self.right.shape[1] + 1)
        precision = self.right.cumsum(dim=1) / places
        return (precision * self.right).sum(dim=1) / self.num_right.clamp_max(self.right.shape[1])

    def discounted_gain(self) -> Float[Tensor, " Q"]:
        """nDCG at k with gains of 0 and 1.

        Source: Jarvelin and Kekalainen 2002, ACM Transactions on Information Systems 20(4).
        """
        discount = 1 / torch.log2(torch.arange(2, self.right.shape[1] + 2).float())
        ideal = discount.cumsum(dim=0)[self.num_right.clamp_max(len(discount)) - 1]
        return (self.right * discount).sum(dim=1) / ideal


def top_order(
    queries: Float[Tensor, "Q D"],
    targets: Float[Tensor, "M D"],
    query_ids: Int[Tensor, " Q"],
    target_ids: Int[Tensor, " M"],
    *,
    k: int,
    similarity: Similarity,
    tile_cells: int = TILE_CELLS,
) -> TopOrder:
    """Return each query's k best targets; with equal scores a wrong answer comes first."""
    rows = max(1, tile_cells // max(1, len(targets)))
    positions, tops, rights, totals = [], [], [], []
    for start in range(0, len(queries), rows):
        scores = similarity(queries[start : start + rows], targets).float()
        right = query_ids[start : start + rows, None] == target_ids[None]
        wrong_first = right.int().sort(dim=1, stable=True).indices
        by_score = scores.gather(1, wrong_first).sort(dim=1, descending=True, stable=True).indices[:, :k]
        order = wrong_first.gather(1, by_score)
        positions.append(order)
        tops.append(scores.gather(1, order))
        rights.append(right.gather(1, order).int())
        totals.append(right.sum(dim=1))
    return TopOrder(torch.cat(positions), torch.cat(tops), torch.cat(rights), torch.cat(totals))
