"""The order of 10^9 samples in 100,000 shards: seconds to any step, memory, time a sample.

There is no peer in the same terms: a global permutation (what a shuffling sampler over an index holds) is measured at
10^7 rows and stands beside it.  Nothing is read from disk: this is the cost of knowing what to read.
"""

from __future__ import annotations

import resource
import time

import numpy as np

from benchmarks.row import Row
from mmcontrast.data.mixture import Mixture, Share
from mmcontrast.data.order import LineOrder

SHARDS, SHARD_ROWS = 100_000, 10_000
BLOCK_ROWS, LANES, BATCH_ROWS = 65_536, 128, 32_768
PEER_ROWS = 10_000_000
STEPS = 20


def measure() -> list[Row]:
    """Time a seek and a run of steps as one process that serves every rank's rows."""
    before = peak_megabytes()
    began = time.perf_counter()
    order = LineOrder([SHARD_ROWS] * SHARDS, seed=0, name="large", block_rows=BLOCK_ROWS, lanes=LANES)
    mixture = Mixture({"large": Share(order=order, weight=1)}, batch_rows=BATCH_ROWS, draw="per_row", seed=0)
    first = 900_000 * 7  # far into an epoch that is not the first
    seen = [located(mixture, order, first)]
    seek = time.perf_counter() - began
    began = time.perf_counter()
    for step in range(first + 1, first + 1 + STEPS):
        seen.append(located(mixture, order, step))
    each = (time.perf_counter() - began) / (STEPS * BATCH_ROWS)
    memory = peak_megabytes() - before
    if len(np.unique(np.concatenate(seen))) != (STEPS + 1) * BATCH_ROWS:
        raise RuntimeError("a row came twice within an epoch")

    before = peak_megabytes()
    began = time.perf_counter()
    permutation = np.random.default_rng(0).permutation(PEER_ROWS)
    scale = SHARDS * SHARD_ROWS / len(permutation)
    peer_seek = (time.perf_counter() - began) * scale
    peer_memory = (peak_megabytes() - before) * scale
    del permutation
    setting = f"{SHARDS * SHARD_ROWS:,} rows, {SHARDS:,} shards, {LANES} lanes, blocks of {BLOCK_ROWS:,}"
    peer = f"peer: a permutation of all rows, from {PEER_ROWS:,} rows"
    return [
        Row(name="start at any step", ours=seek, peer=peer_seek, ratio=peer_seek / seek, unit="s", setting=setting),
        Row(
            name="memory of the order",
            ours=memory,
            peer=peer_memory,
            ratio=peer_memory / memory,
            unit="MB",
            setting=peer,
        ),
        Row(
            name="time a sample",
            ours=each * 1e6,
            peer=100.0,
            ratio=100.0 / (each * 1e6),
            unit="us",
            setting=f"peer: the target; batches of {BATCH_ROWS:,} in one process",
        ),
    ]


def located(mixture: Mixture, order: LineOrder, step: int) -> np.ndarray:
    """Rows of one global batch."""
    return order.locate(mixture.batch(step).position).rows


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
