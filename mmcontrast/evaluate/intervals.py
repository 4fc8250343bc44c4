"""How sure a number is."""

from __future__ import annotations

import math

import numpy as np

Z_95 = 1.959963984540054  # the normal quantile of 0.975


def wilson(successes: float, count: int, *, z: float = Z_95) -> tuple[float, float]:
    """95% interval of a proportion.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    if count == 0:
        return (0.0, 1.0)
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return (max(0.0, middle - half), min(1.0, middle + half))


def bootstrap(values: np.ndarray, clusters: np.ndarray | None = None, *, draws: int = 2000, seed: int = 0) -> tuple[
    float, float
]:
    """95% percentile interval of a mean; whole clusters are drawn when given.

    Args:
        values: (N,) one number a row.
        clusters: (N,) rows of equal value are drawn together, the captions of one clip say.
    """
    rng = np.random.default_rng(seed)
    _, groups = np.unique(np.arange(len(values)) if clusters is None else clusters, return_inverse=True)
    sums = np.bincount(groups, weights=values)
    counts = np.bincount(groups)
    chosen = rng.integers(0, len(sums), size=(draws, len(sums)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return (float(low), float(high))
