"""The linear rise that every schedule may begin with."""

from __future__ import annotations


def warmup(step: int, steps: int) -> float:
    """Factor of the update number ``step``, counted from 0: ``1 / steps`` at the first, 1 once it has risen."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
