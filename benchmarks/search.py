"""Search of a million points: an approximate index beside the exact one, at a recall of 0.95 or more.

The points are made up to lie as embeddings do: clusters within clusters of unequal sizes, variance that falls from
direction to direction, and a common offset.  Queries are those of another modality: noisy copies of some points,
moved by a constant gap.  Times are of processor time with one thread, one query at a time, from the query's point to
ten rows scored by the stored points; the peer is faiss's exact index of the same type over the same points.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.row import Row
from benchmarks.turns import in_turns
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.search.build import fill
from mmcontrast.search.nearest import Dtype, Kind, Nearest
from mmcontrast.search.points import Points
from mmcontrast.search.tune import ANSWERS, QUERIES, tune

POINTS, DIM = 1_000_000, 512
RECALL = 0.95
TURNS = 30
BLOCK = 50_000
CASES: tuple[tuple[Kind, Dtype, float], ...] = (  # and the share of the points: a graph takes long to build
    ("ivf", "fp16", 1.0),
    ("ivf", "int8", 1.0),
    ("hnsw", "fp16", 0.1),
)


def measure(share: float = 1.0) -> list[Row]:
    """Build each index, find the width that reaches the recall, and time queries.

    Args:
        share: of the points, where time is short.
    """
    with tempfile.TemporaryDirectory() as scratch:
        values, queries = made_up(Path(scratch), round(POINTS * share))
        return [timed(kind, dtype, values[: round(len(values) * part)], queries, Path(scratch))
                for kind, dtype, part in CASES]  # fmt: skip


def made_up(scratch: Path, count: int) -> tuple[np.ndarray, Tensor]:
    """Points in a file of 16-bit numbers, mapped into memory, and queries of another modality."""
    generator = torch.Generator().manual_seed(0)
    falling = torch.arange(1, DIM + 1) ** -0.4
    wide = torch.randn(200, DIM, generator=generator)
    narrow = wide[torch.randint(0, 200, (10_000,), generator=generator)]
    narrow = narrow + 0.8 * torch.randn(10_000, DIM, generator=generator)
    sizes = torch.rand(10_000, generator=generator) ** 3  # some clusters are large, most are small
    offset, gap = torch.randn(2, DIM, generator=generator)
    values = np.lib.format.open_memmap(scratch / "points.npy", mode="w+", dtype=np.float16, shape=(count, DIM))
    for start in range(0, count, BLOCK):
        rows = min(BLOCK, count - start)
        centres = narrow[torch.multinomial(sizes, rows, replacement=True, generator=generator)]
        free = centres + torch.randn(rows, DIM, generator=generator) + offset
        values[start : start + rows] = normalize(falling * free, dim=1).numpy()
    chosen = np.sort(np.random.default_rng(0).permutation(count // 10)[:QUERIES])
    copies = torch.from_numpy(values[chosen].astype(np.float32))
    noise = 0.5 * normalize(falling * torch.randn(QUERIES, DIM, generator=generator), dim=1)
    return values, normalize(copies + noise + 0.5 * normalize(falling * gap, dim=0), dim=1)


def timed(kind: Kind, dtype: Dtype, values: np.ndarray, queries: Tensor, scratch: Path) -> Row:
    """Milliseconds a query of an approximate index and of the exact one."""
    ours, peer = filled(kind, dtype, values), filled("exact", dtype, values)
    tuned = tune(ours, queries, recall=RECALL)
    ours.width = tuned.width
    mine, theirs = cycle(queries), cycle(queries)
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    times = in_turns(
        lambda: ours.nearest(next(mine)[None], count=ANSWERS),
        lambda: peer.nearest(next(theirs)[None], count=ANSWERS),
        turns=TURNS,
        warm_up=3,
        clock=time.process_time,
    )
    faiss.omp_set_num_threads(os.cpu_count() or 1)  # the next index is built with all
    milliseconds = [1000 * statistics.median(each) for each in times]
    ours.finder.write(scratch / "finder")
    size = (scratch / "finder").stat().st_size / 2**30
    slowest = 1000 * sorted(times[0])[int(0.95 * TURNS)]
    return Row(
        name=f"search, {kind} {dtype}, {len(values):,} x {DIM}",
        ours=milliseconds[0],
        peer=milliseconds[1],
        ratio=milliseconds[1] / milliseconds[0],
        unit="ms of processor time a query",
        setting=f"recall@{ANSWERS} {tuned.recall:.3f}, 95% within {slowest:.2g} ms, {size:.2f} GiB in memory, "
        f"one thread, peer: exact {dtype}",
    )


def filled(kind: Kind, dtype: Dtype, values: np.ndarray) -> Points:
    """An index over all points."""
    finder = Nearest.empty(kind=kind, dtype=dtype, length=DIM, count=len(values))
    points = Points(Sphere(Sphere.Config()), values, np.arange(len(values)), finder, width=0)
    fill(points)
    return points
