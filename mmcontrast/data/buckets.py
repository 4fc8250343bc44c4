"""Batches of rows of like length: those of a few batches are sorted together, and the batches shuffled.

Letters: N rows of the source, R rows that are arranged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Buckets:
    """What a source's batches are alike in."""

    lengths: Int[np.ndarray, " N"]  # of each row
    batch_rows: int
    batches: int  # whose rows are sorted together

    def arranged(self, rows: Int[np.ndarray, " R"], *, first: int, rng: np.random.Generator) -> Int[np.ndarray, " R"]:
        """Sort an epoch's shuffled rows, of a source that is shuffled whole.

        Args:
            first: position of the epoch's first row; batches begin at multiples of ``batch_rows``.
        """
        rows = rows.copy()
        start = min(-first % self.batch_rows, len(rows))
        end = start + (len(rows) - start) // self.batch_rows * self.batch_rows
        while start < end:
            stop = min(start + self.batches * self.batch_rows, end)
            part = rows[start:stop]
            part = part[np.argsort(self.lengths[part], kind="stable")].reshape(-1, self.batch_rows)
            rows[start:stop] = part[rng.permutation(len(part))].ravel()
            start = stop
        return rows

    def arranged_lane(
        self,
        rows: Int[np.ndarray, " R"],
        *,
        batches: range,
        lane_rows: int,
        first: int,
        make_rng: Callable[[int], np.random.Generator],
    ) -> Int[np.ndarray, " R"]:
        """Return the new order of a lane's block, as places in it.

        Every lane is sorted by itself and gives each batch its share of the short rows or of the long ones: a batch's
        rows are alike, and each still comes from its own lane's shards.

        Args:
            rows: the block as it is shuffled.
            batches: numbers of the epoch's batches that lie whole in this block, in every lane.
            lane_rows: rows of a batch that come from one lane.
            first: place of the epoch's first batch, in the lane and counted from the block's beginning.
            make_rng: number of a batch -> the generator that shuffles those sorted together from it on, in all lanes.
        """
        places = np.arange(len(rows))
        for number in batches[:: self.batches]:
            count = min(self.batches, batches.stop - number)
            start = first + number * lane_rows
            part = places[start : start + count * lane_rows]
            part = part[np.argsort(self.lengths[rows[part]], kind="stable")].reshape(count, lane_rows)
            places[start : start + count * lane_rows] = part[make_rng(number).permutation(count)].ravel()
        return places
