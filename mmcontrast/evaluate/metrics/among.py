"""Ranks in pools that differ by query: a reference is left out, or a handful of candidates compete.

Letters: Q queries, M targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.finite import check_finite
from mmcontrast.evaluate.metrics.ranks import TILE_CELLS, Similarity

Columns = list[list[int]]  # of each query


@dataclass(frozen=True)
class Among:
    """Where the best right target of each query stands in its pool."""

    first: Int[Tensor, " Q"]  # 1 is best; a tie with a wrong target counts against
    tied: Bool[Tensor, " Q"]  # with a wrong target
    best: Int[Tensor, "Q k"]  # columns of the highest scores of the pool
    scores: Float[Tensor, "Q k"]

    def hits(self, k: int) -> Float[Tensor, " Q"]:
        """1 where a right target is among the first k."""
        return (self.first <= k).float()


def ranks_among(
    scores: Float[Tensor, "Q M"], right: Bool[Tensor, "Q M"], allowed: Bool[Tensor, "Q M"], *, shown: int = 1
) -> Among:
    """Rank each query's best right target among its allowed ones.

    Args:
        shown: columns kept of each query, those of the highest scores.

    Raises:
        MetricError: NaN, or a query with no right target among the allowed ones.
    """
    check_finite(scores, what="scores", axes=("query", "target"))
    found, wrong = right & allowed, allowed & ~right
    if not found.any(dim=1).all():
        lonely = int((~found.any(dim=1)).nonzero()[0])
        raise MetricError(f"query {lonely} has no right target in its pool.")
    best = scores.masked_fill(~found, -torch.inf).max(dim=1, keepdim=True).values
    top = scores.masked_fill(~allowed, -torch.inf).topk(min(shown, scores.shape[1]), dim=1)
    first = 1 + ((scores >= best) & wrong).sum(dim=1)
    return Among(first, ((scores == best) & wrong).any(dim=1), top.indices, top.values)


@dataclass(frozen=True)
class Pools:
    """Every query's right targets, and those that compete with them, as columns."""

    size: int  # targets in all
    right: Columns
    excluded: Columns  # never ranked
    candidates: Columns | None = None  # only these are ranked; null: all

    def rank(
        self, queries: Float[Tensor, "Q D"], targets: Float[Tensor, "M D"], *, similarity: Similarity, shown: int = 1
    ) -> Among:
        """Rank from embeddings, a tile of queries at a time."""
        parts = [
            ranks_among(similarity(queries[part], targets).float(), right, allowed, shown=shown)
            for part, right, allowed in self._tiles()
        ]
        return Among(
            torch.cat([each.first for each in parts]),
            torch.cat([each.tied for each in parts]),
            torch.cat([each.best for each in parts]),
            torch.cat([each.scores for each in parts]),
        )

    def chance(self, k: int) -> Float[Tensor, " Q"]:
        """Probability that a random order of a query's pool has a right target among the first k."""
        result = []
        for _, right, allowed in self._tiles():
            total, hits = allowed.sum(dim=1).double(), (right & allowed).sum(dim=1).double()
            miss = torch.ones(len(total), dtype=torch.float64)
            for place in range(min(k, self.size)):
                left = total - place
                miss = torch.where(left > 0, miss * ((left - hits) / left.clamp_min(1)).clamp_min(0), miss)
            result.append(1 - miss)
        return torch.cat(result).float()

    def _tiles(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some queries with their tables of right and of competing targets."""
        rows = max(1, TILE_CELLS // max(1, self.size))
        for start in range(0, len(self.right), rows):
            part = slice(start, min(start + rows, len(self.right)))
            right = self._table(self.right[part])
            allowed = torch.ones_like(right) if self.candidates is None else self._table(self.candidates[part])
            yield part, right, allowed & ~self._table(self.excluded[part])

    def _table(self, columns: Columns) -> Bool[Tensor, "Q M"]:
        table = torch.zeros(len(columns), self.size, dtype=torch.bool)
        for row, places in enumerate(columns):
            table[row, places] = True
        return table
