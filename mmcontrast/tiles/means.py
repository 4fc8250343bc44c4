"""Means of each row's and column's logits over the pairs that are allowed, for label smoothing.

Letters: B query rows, K key rows of this rank, R rows and C columns of a tile.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.tiles.walk import Tile, Walk


class Means:
    """Sums and counts of logits while walking; ``columns`` must be among the sums that travel with the keys."""

    def __init__(self, walk: Walk) -> None:
        self.rows = [walk.queries.new_zeros(len(walk.queries)) for _ in range(2)]  # sum, count
        self.columns = [walk.keys.new_zeros(len(walk.keys)) for _ in range(2)]

    def add(self, tile: Tile, logits: Float[Tensor, "R C"], columns: list[Tensor]) -> None:
        """Count a tile in; ``columns`` are the visiting block's sum and count."""
        counted = allowed(logits)
        values = logits.masked_fill(counted == 0, 0.0)
        for matrix, row, column in zip((values, counted), self.rows, columns, strict=True):
            row[tile.at].addmv_(matrix, tile.key_weight)
            column[tile.to].addmv_(matrix.T, tile.query_weight)


def mean(sums: list[Tensor]) -> Tensor:
    """Sum over count; 0 where nothing was counted."""
    total, count = sums
    return total / count.clamp_min(1.0)


def allowed(logits: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
    """1 where a pair is allowed, 0 where a bias forbade it."""
    return (logits > -torch.inf).to(logits.dtype)
