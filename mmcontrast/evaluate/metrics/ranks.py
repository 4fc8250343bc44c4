"""Ranks of right answers among all answers: pure functions of embeddings' scores, in float32, in tiles.

Letters: Q queries, M targets.  A tie with a wrong answer counts against the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.finite import check_finite

Similarity = Callable[[Tensor, Tensor], Tensor]
TILE_CELLS = 1 << 20  # scores in memory at a time: 4 MB stays in cache


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

    Args:
        similarity: (q, D), (M, D) -> (q, M), a new tensor each time: it is written into.

    Raises:
        MetricError: embeddings that are not finite, or a query without a right answer.
    """
    _check_points(queries, targets)
    tiles = Tiles(queries, targets, query_ids, target_ids, similarity=similarity, tile_cells=tile_cells)
    return tiles.ranks([_rank_tile(tile) for tile in tiles])


def rank_and_order(
    queries: Float[Tensor, "Q D"],
    targets: Float[Tensor, "M D"],
    query_ids: Int[Tensor, " Q"],
    target_ids: Int[Tensor, " M"],
    *,
    k: int,
    similarity: Similarity,
    tile_cells: int = TILE_CELLS,
) -> tuple[Ranks, TopOrder]:
    """``rank_first`` and ``top_order`` from the same scores, which are computed once.

    Raises:
        MetricError: embeddings that are not finite, or a query without a right answer.
    """
    _check_points(queries, targets)
    tiles = Tiles(queries, targets, query_ids, target_ids, similarity=similarity, tile_cells=tile_cells)
    both = [(_order_tile(tile, k), _rank_tile(tile)) for tile in tiles]
    return tiles.ranks([ranked for _, ranked in both]), tiles.order([ordered for ordered, _ in both])


def _check_points(queries: Tensor, targets: Tensor) -> None:
    for name, points in (("queries", queries), ("targets", targets)):
        check_finite(points, what=f"embeddings of the {name}", axes=("row", "dimension"))


@dataclass(frozen=True)
class Tile:
    """Scores of some queries against all targets, and the cells of right answers."""

    scores: Float[Tensor, "q M"]
    owner: Int[Tensor, " P"]
    column: Int[Tensor, " P"]


class Tiles:
    """All scores, some queries at a time, and what their results are put together to.

    Raises:
        MetricError: a query has no right answer among the targets.
    """

    def __init__(
        self,
        queries: Float[Tensor, "Q D"],
        targets: Float[Tensor, "M D"],
        query_ids: Int[Tensor, " Q"],
        target_ids: Int[Tensor, " M"],
        *,
        similarity: Similarity,
        tile_cells: int,
    ) -> None:
        self._queries, self._targets, self._similarity = queries, targets, similarity
        self._right = RightAnswers.of(query_ids, target_ids)
        self._num_targets = len(target_ids)  # which a similarity may make of more points
        self._rows = max(1, tile_cells // max(1, len(targets)))

    def __iter__(self) -> Iterator[Tile]:
        for start in range(0, len(self._queries), self._rows):
            part = slice(start, min(start + self._rows, len(self._queries)))
            yield Tile(self._similarity(self._queries[part], self._targets).float(), *self._right.cells(part))

    def ranks(self, parts: list[tuple[Tensor, Tensor]]) -> Ranks:
        """Put the tiles' counts of better and equal wrong answers together."""
        better, ties = (torch.cat(each) for each in zip(*parts, strict=True))
        return Ranks(1 + better + ties, better, ties, self._num_targets, self._right.counts)

    def order(self, parts: list[tuple[Tensor, Tensor, Tensor]]) -> TopOrder:
        """Put the tiles' first answers together."""
        positions, scores, right = (torch.cat(each) for each in zip(*parts, strict=True))
        return TopOrder(positions, scores, right, self._right.counts)


def _rank_tile(tile: Tile) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"]]:
    """Wrong answers above and beside each query's best right one.  Right cells of the scores are overwritten."""
    scores = tile.scores
    right = scores[tile.owner, tile.column]
    best = scores.new_full((len(scores),), -torch.inf).scatter_reduce(0, tile.owner, right, reduce="amax")
    scores[tile.owner, tile.column] = -torch.inf  # what is left are wrong answers
    return _counted(torch.gt, scores, best[:, None]), _counted(torch.eq, scores, best[:, None])


def _counted(compare: Callable[..., Tensor], scores: Tensor, bound: Tensor) -> Int[Tensor, " q"]:
    """Cells of each row that compare so with the row's bound.

    Written as 0.0 and 1.0, whose sum is exact up to 2^24 cells and takes a quarter of the time of booleans'.
    """
    if scores.shape[1] > 1 << 24:
        return compare(scores, bound).sum(dim=1)
    return compare(scores, bound, out=torch.empty_like(scores)).sum(dim=1).long()


@dataclass(frozen=True)
class RightAnswers:
    """Positions of every query's right targets, without a (Q, M) table."""

    starts: Int[Tensor, " Q"]  # of the query's targets in ``order``
    counts: Int[Tensor, " Q"]
    order: Int[Tensor, " M"]  # targets sorted by id

    @staticmethod
    def of(query_ids: Int[Tensor, " Q"], target_ids: Int[Tensor, " M"]) -> RightAnswers:
        """Find them by sorting.

        Raises:
            MetricError: a query has none.
        """
        sorted_ids, order = target_ids.sort(stable=True)
        starts = torch.searchsorted(sorted_ids, query_ids.contiguous())
        counts = torch.searchsorted(sorted_ids, query_ids.contiguous(), right=True) - starts
        if not (counts > 0).all():
            lonely = (counts == 0).nonzero().squeeze(1)
            raise MetricError(f"{len(lonely)} queries have no right answer, the first is row {int(lonely[0])}.")
        return RightAnswers(starts, counts, order)

    def cells(self, part: slice) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
        """Rows (counted from the part's first) and columns of the right cells of some queries."""
        counts = self.counts[part]
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
        first = counts.cumsum(0) - counts
        place = torch.arange(len(owner)) - first[owner]
        return owner, self.order[self.starts[part][owner] + place]


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
    """Return each query's k best targets; with equal scores a wrong answer comes first.

    Raises:
        MetricError: a query has no right answer among the targets.
    """
    tiles = Tiles(queries, targets, query_ids, target_ids, similarity=similarity, tile_cells=tile_cells)
    return tiles.order([_order_tile(tile, k) for tile in tiles])


def _order_tile(tile: Tile, k: int) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"], Int[Tensor, "q k"]]:
    """Positions and scores of each query's first k answers, and which of them are right."""
    right = torch.zeros(tile.scores.shape, dtype=torch.bool)
    right[tile.owner, tile.column] = True
    order = _wrong_first(tile.scores, right, k)
    return order, tile.scores.gather(1, order), right.gather(1, order).int()


def _wrong_first(scores: Tensor, right: Tensor, k: int) -> Tensor:
    """Columns of the k highest scores of each row; among equal scores wrong ones first, then by column."""
    found = scores.topk(k, dim=1)
    last = found.values[:, -1:]
    cut = (_counted(torch.eq, scores, last) > (found.values == last).sum(1)).nonzero().squeeze(1)
    columns = found.indices.sort(dim=1).values
    columns = columns.gather(1, right.gather(1, columns).int().sort(dim=1, stable=True).indices)
    columns = columns.gather(1, scores.gather(1, columns).sort(dim=1, descending=True, stable=True).indices)
    if len(cut):  # which of several equal scores are among the first k matters: sort these rows whole
        by_right = right[cut].int().sort(dim=1, stable=True).indices
        by_score = scores[cut].gather(1, by_right).sort(dim=1, descending=True, stable=True).indices[:, :k]
        columns[cut] = by_right.gather(1, by_score)
    return columns
