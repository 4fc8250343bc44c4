"""A selection: embeddings of all rows in, for each row whether it stays and which cluster it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Chosen:
    """What becomes of every row."""

    keep: np.ndarray  # bool (N,)
    cluster: np.ndarray | None = None  # int (N,); -1: the row has no embedding
    num_clusters: int = 0


class Selection:
    """Base of every selection.  Rows without an embedding stay."""

    Config: ClassVar[type]
    reason: ClassVar[str] = "not selected"

    def __init__(self, config: Any) -> None:
        self.config = config

    def choose(self, z: np.ndarray, keys: list[str]) -> Chosen:
        """Choose among rows by unit embeddings (N, D), NaN where a row has none, and keys."""
        raise NotImplementedError


def cluster(z: np.ndarray, *, count: int, rounds: int, seed: int) -> np.ndarray:
    """Spherical k-means by faiss on one thread (the same clusters at every run): int (N,)."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        count = min(count, len(z))
        means = faiss.Kmeans(
            z.shape[1], count, niter=rounds, seed=seed, spherical=True, min_points_per_centroid=1, verbose=False
        )
        means.train(np.ascontiguousarray(z, dtype=np.float32))
        return means.index.search(np.ascontiguousarray(z, dtype=np.float32), 1)[1][:, 0]
    finally:
        faiss.omp_set_num_threads(threads)
