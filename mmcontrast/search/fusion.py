"""One ranking from several whose scores do not compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

SMOOTHING = 60  # the authors' constant: how little the first ranks differ


def reciprocal_ranks(
    rankings: Sequence[Int64[np.ndarray, " N"]],
) -> tuple[Int64[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Rows of all rankings by the sum of 1 / (60 + rank); equal sums by number.

    Source: Cormack et al. 2009, SIGIR (Reciprocal Rank Fusion).
    """
    rows = np.unique(np.concatenate(list(rankings)))
    scores = np.zeros(len(rows))
    for ranking in rankings:
        scores[np.searchsorted(rows, ranking)] += 1 / (SMOOTHING + 1 + np.arange(len(ranking)))
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]
