"""The check that every metric makes first."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcontrast.errors import MetricError


def check_finite(values: Tensor, *, what: str, axes: tuple[str, ...]) -> None:
    """Refuse NaN and infinite numbers: they would compare as wrong, or as right, without a word.

    Args:
        what: name of the tensor in the message.
        axes: name of each dimension, for the place of the first bad number.

    Raises:
        MetricError: says how many there are and where the first stands.
    """
    bad = ~torch.isfinite(values)
    if bad.any():
        first = bad.nonzero()[0].tolist()
        place = ", ".join(f"{axis} {number}" for axis, number in zip(axes, first, strict=True))
        raise MetricError(f"{what} hold {int(bad.sum()):,} NaN or infinite values, the first at {place}.")
