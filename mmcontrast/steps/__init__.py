"""How a batch becomes gradients."""

from __future__ import annotations

from collections.abc import Callable

from mmcontrast.registry import Registry
from mmcontrast.types import Terms

STEPS = Registry("step", "mmcontrast.steps")

# Judges a loss before its backward, the same on every rank; where it says no, the batch leaves no gradient.
Allows = Callable[[Terms], bool]


def always(terms: Terms) -> bool:
    """Allow every loss."""
    return True
