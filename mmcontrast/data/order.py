"""Where a source's rows stand in its endless shuffled line: position -> (epoch, row), any position at once.

Letters: P positions asked for, N rows of the source.

A source of at most ``block_rows`` rows is permuted whole, each epoch anew.  A larger one is shuffled so that few
shards are open at a time: each epoch permutes the shards, joins them to a line, turns the line by a random amount
and cuts it into lanes of equal length (to within one row); a lane is read in blocks of ``block_rows`` rows, each
permuted.  Position p lies in lane p mod lanes, so a batch draws evenly from all lanes, and a rank that takes the rows
of its lanes reads shards that few other ranks read.

Nothing is kept but what the last positions needed: the memory is bounded by the shards and by lanes x block_rows,
whatever the number of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.random.bit_generator import ISeedSequence

from mmcontrast.data.buckets import Buckets


def stable_hash(*parts: object) -> int:
    """Hash of the parts' text to 63 bits, the same on every machine and run."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: object) -> np.random.Generator:
    """Counter-based random generator keyed by the parts.

    Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox).
    """
    key: Any = _Key(stable_hash(*parts))  # numpy's stub names one subclass of ISeedSequence alone
    return np.random.Generator(np.random.Philox(key))


class _Key(ISeedSequence):
    """Hands a key to Philox as ``Philox(key=...)`` takes it, without asking the system for entropy first."""

    def __init__(self, key: int) -> None:
        self._words = np.array((key, 0), dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """The two words of the key."""
        assert (n_words, np.dtype(dtype)) == (2, np.uint64), "Philox has a key of two words"
        return self._words


@dataclass(frozen=True)
class Located:
    """Epoch and row of each position asked for."""

    epochs: Int[np.ndarray, " P"]
    rows: Int[np.ndarray, " P"]  # 0 .. N - 1, in manifest order


@dataclass(frozen=True)
class _Epoch:
    """The shards of one epoch, in their order."""

    shards: Int[np.ndarray, " shards"]
    ends: Int[np.ndarray, " shards"]  # running sum of their rows
    turn: int  # by how much the line is turned, so that lanes begin elsewhere each epoch


class LineOrder:
    """The line of one source, as a pure function of (rows of its shards, seed, name)."""

    def __init__(
        self,
        shard_rows: Sequence[int],
        *,
        seed: int,
        name: str,
        block_rows: int,
        lanes: int,
        buckets: Buckets | None = None,
    ) -> None:
        """Prepare to locate positions.

        Args:
            shard_rows: rows of each shard that belong to the source, in manifest order.
            block_rows: rows that are shuffled together.
            lanes: runs of shards that are read side by side.
            buckets: lengths that batches are alike in; lanes then divide their rows.
        """
        self.seed, self.name, self.block_rows, self.buckets = seed, name, block_rows, buckets
        self._shard_rows = np.asarray(shard_rows, dtype=np.int64)
        self._starts = np.cumsum(self._shard_rows) - self._shard_rows
        self.rows = int(self._shard_rows.sum())
        self.lanes = 1 if self.rows <= block_rows else min(lanes, self.rows)
        self._epochs: dict[int, _Epoch] = {}
        self._wholes: dict[int, np.ndarray] = {}
        self._blocks: dict[int, tuple[tuple[int, int], np.ndarray]] = {}  # lane -> (epoch, block), permutation

    @property
    def whole(self) -> bool:
        """Whether all rows are shuffled together."""
        return self.rows <= self.block_rows

    def locate(self, positions: Int[np.ndarray, " P"]) -> Located:
        """Return the epoch and the row of each position; within an epoch every row comes exactly once."""
        epochs, places = np.divmod(positions.astype(np.int64), self.rows)
        rows = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            rows[here] = self._whole(epoch)[places[here]] if self.whole else self._in_lanes(epoch, places[here])
        return Located(epochs, rows)

    def locate_one(self, position: int) -> tuple[int, int]:
        """Return (epoch, row) of one position."""
        if self.whole:
            epoch, place = divmod(position, self.rows)
            return epoch, int(self._whole(epoch)[place])
        located = self.locate(np.array([position]))
        return int(located.epochs[0]), int(located.rows[0])

    def lane(self, positions: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
        """Return the lane of each position."""
        return (positions % self.rows) % self.lanes

    def substitute(self, position: int, attempt: int) -> int:
        """Return the position whose row replaces a damaged one: half a block on, in the same lane and block."""
        if self.whole:
            return position + attempt * (self.rows // 2 + 1)
        epoch, place = divmod(position, self.rows)
        lane, offset = place % self.lanes, place // self.lanes
        block, inside = divmod(offset, self.block_rows)
        length = self._block_length(lane, block)
        moved = (inside + attempt * (length // 2 + 1)) % length
        return epoch * self.rows + (block * self.block_rows + moved) * self.lanes + lane

    def _whole(self, epoch: int) -> np.ndarray:
        if epoch not in self._wholes:
            _keep_last(self._wholes)
            rows = generator("order", self.seed, self.name, epoch).permutation(self.rows)
            if self.buckets is not None:
                rng = generator("buckets", self.seed, self.name, epoch)
                rows = self.buckets.arranged(rows, first=epoch * self.rows, rng=rng)
            self._wholes[epoch] = rows
        return self._wholes[epoch]

    def _in_lanes(self, epoch: int, places: np.ndarray) -> np.ndarray:
        lanes, offsets = places % self.lanes, places // self.lanes
        blocks, inside = np.divmod(offsets, self.block_rows)
        line = np.empty_like(places)
        # Lane by lane, and a lane's blocks in order: one permutation a lane is kept.
        groups = lanes * (int(blocks.max()) + 1) + blocks
        for group in np.unique(groups).tolist():
            lane, block = divmod(group, int(blocks.max()) + 1)
            here = groups == group
            start = self._lane_start(lane) + block * self.block_rows
            line[here] = start + self._block(epoch, lane, block)[inside[here]]
        return self._rows_at(epoch, line)

    def _rows_at(self, epoch: int, line: np.ndarray) -> np.ndarray:
        """Rows at places of an epoch's line of lanes."""
        shards = self._epoch(epoch)
        line = (line + shards.turn) % self.rows
        index = np.searchsorted(shards.ends, line, side="right")
        shard = shards.shards[index]
        return self._starts[shard] + line - (shards.ends[index] - self._shard_rows[shard])

    def _lane_start(self, lane: int) -> int:
        return lane * (self.rows // self.lanes) + min(lane, self.rows % self.lanes)

    def _block_length(self, lane: int, block: int) -> int:
        length = self._lane_start(lane + 1) - self._lane_start(lane)
        return min(self.block_rows, length - block * self.block_rows)

    def _block(self, epoch: int, lane: int, block: int) -> np.ndarray:
        kept = self._blocks.get(lane)
        if kept is None or kept[0] != (epoch, block):
            rng = generator("block", self.seed, self.name, epoch, lane, block)
            order = rng.permutation(np.arange(self._block_length(lane, block), dtype=np.uint32))
            if self.buckets is not None:
                order = self._bucketed(order, self.buckets, epoch=epoch, lane=lane, block=block)
            kept = self._blocks[lane] = ((epoch, block), order)
        return kept[1]

    def _bucketed(self, order: np.ndarray, buckets: Buckets, *, epoch: int, lane: int, block: int) -> np.ndarray:
        """A shuffled block, sorted so that each batch takes a like share of the lengths of every lane."""
        start = self._lane_start(lane) + block * self.block_rows
        lane_rows = buckets.batch_rows // self.lanes
        first = -epoch * self.rows % buckets.batch_rows  # place in the epoch where a batch begins
        # Where each lane's part of the first batch begins, and where each lane's block ends.
        firsts = [-((each - first) // self.lanes) for each in range(self.lanes)]
        begin = block * self.block_rows
        ends = [begin + self._block_length(each, block) for each in range(self.lanes)]
        reached = min((end - each) // lane_rows for end, each in zip(ends, firsts, strict=True))
        batches = range(max(0, -((min(firsts) - begin) // lane_rows)), reached)
        return order[
            buckets.arranged_lane(
                self._rows_at(epoch, start + order.astype(np.int64)),
                batches=batches,
                lane_rows=lane_rows,
                first=firsts[lane] - begin,
                make_rng=partial(generator, "buckets", self.seed, self.name, epoch),
            )
        ]

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            _keep_last(self._epochs)
            rng = generator("shards", self.seed, self.name, epoch)
            shards = rng.permutation(len(self._shard_rows))
            ends = np.cumsum(self._shard_rows[shards])
            self._epochs[epoch] = _Epoch(shards, ends, int(rng.integers(0, self.rows)))
        return self._epochs[epoch]


def _keep_last(cache: dict) -> None:
    """Keep at most one entry besides the one that is about to be added: a batch may cross into the next epoch."""
    while len(cache) > 1:
        cache.pop(next(iter(cache)))
