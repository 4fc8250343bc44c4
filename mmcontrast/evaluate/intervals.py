"""How sure a number is: pure functions of arrays."""

from __future__ import annotations

import math

import numpy as np

Z_95 = 1.959963984540054  # the normal quantile of 0.975


def wilson(successes: float, count: float, *, z: float = Z_95) -> tuple[float, float]:
    """95% interval of a proportion.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    if count <= 0:
        return (0.0, 1.0)
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return (max(0.0, middle - half), min(1.0, middle + half))


def effective_rows(values: np.ndarray, clusters: np.ndarray) -> float:
    """Number of independent rows that would give the mean as much variance as these clusters do.

    At most the number of rows, even where rows of one cluster differ more than by chance.  When all rows are equal
    nothing tells how they vary, and each cluster counts as one row.

    Source: Kish 1965, Survey Sampling, chapter 8 (design effect).
    """
    _, groups = np.unique(clusters, return_inverse=True)
    rows, num_clusters = len(values), int(groups.max()) + 1
    mean = values.mean()
    independent = values.var() / rows
    if independent == 0 or num_clusters < 2:
        return float(num_clusters)
    residuals = np.bincount(groups, weights=values - mean)
    clustered = num_clusters / (num_clusters - 1) * float((residuals**2).sum()) / rows**2
    return float(np.clip(rows * independent / max(clustered, 1e-12), 1.0, rows))


def clustered_wilson(
    hits: np.ndarray, clusters: np.ndarray, *, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Wilson's interval over the effective number of rows; sensible where a bootstrap of all zeros is not.

    Args:
        hits: (N,) zeros and ones.
        clusters: (N,) rows of equal value belong together.
        weights: (N,) how much each row counts; unequal ones make rows fewer by Kish's (sum w)^2 / (N sum w^2).
    """
    rows = effective_rows(hits, clusters)
    if weights is None:
        return wilson(float(hits.mean()) * rows, rows)
    rows *= float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
    return wilson(float(hits @ weights / weights.sum()) * rows, rows)


def bootstrap(
    values: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95% percentile interval of a mean; whole clusters are drawn when given.

    Args:
        values: (N,) one number a row.
        clusters: (N,) rows of equal value are drawn together, the captions of one clip say.
        weights: (N,) how much each row counts; null: all alike.
        draws: bootstrap samples.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    _, groups = np.unique(np.arange(len(values)) if clusters is None else clusters, return_inverse=True)
    weights = np.ones(len(values)) if weights is None else weights
    sums, counts = np.bincount(groups, weights=values * weights), np.bincount(groups, weights=weights)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(0, len(sums), size=len(sums))
        means[draw] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return (float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two paired systems are equally often right.

    Source: McNemar 1947, Psychometrika 12; the exact binomial form.
    """
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, right) for right in range(fewer + 1)) / 2**discordant
    return min(1.0, 2 * tail)
