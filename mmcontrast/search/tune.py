"""How much of an approximate index a query must look at, measured beside the exact answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from mmcontrast.errors import SearchError
from mmcontrast.search.points import Points

ANSWERS = 10
QUERIES = 200


@dataclass(frozen=True)
class Tuned:
    """The least width that reaches the recall, and the recall that it has."""

    width: int
    recall: float


def tune(points: Points, queries: Float[Tensor, "Q D"], *, recall: float) -> Tuned:
    """Double the width until enough of the ten nearest are found.

    Raises:
        SearchError: the widest search does not find them.
    """
    truth = points.exact(queries, count=ANSWERS).places
    widest = points.finder.widest
    width = min(8 if points.finder.kind == "hnsw" else 1, widest)
    while True:
        found = recall_of(points.nearest(queries, count=ANSWERS, width=width).places, truth)
        if found >= recall or widest == 0:
            return Tuned(width, found)
        if width >= widest:
            raise SearchError(
                f"the index finds {found:.3f} of the {ANSWERS} nearest at its widest, less than the {recall:g} asked "
                "for. Use --kind exact, a wider --dtype or a lower --recall."
            )
        width = min(2 * width, widest)


def recall_of(found: Int64[np.ndarray, "Q K"], truth: Int64[np.ndarray, "Q K"]) -> float:
    """Share of the true places that were found."""
    return float(
        np.mean([len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(found.tolist(), truth.tolist(), strict=True)])
    )
