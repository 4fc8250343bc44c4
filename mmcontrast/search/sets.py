"""Sets of rows by captions: all that hold, and none of those that must not.

Scores of different captions do not compare: one fits everything a little, another nothing.  In deviations from its
mean over the index each says how far a row stands out for it.  Then ``a AND b`` is the lesser of the two, and
``a NOT b`` takes off how far a row stands out for b; a row below b's mean loses nothing: it is no less of an ``a``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def combined(
    positive: Sequence[Float[np.ndarray, " N"]], negative: Sequence[Float[np.ndarray, " N"]]
) -> Float[np.ndarray, " N"]:
    """One score a row from its standard scores.

    Args:
        positive: for each thing that must hold; at least one.
        negative: for each thing that must not.

    Source: Zadeh 1965, Fuzzy Sets (the lesser as intersection).
    """
    score = np.minimum.reduce(list(positive))
    for each in negative:
        score = score - np.maximum(each, 0)
    return score
