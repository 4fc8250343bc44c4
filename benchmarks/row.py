"""One line of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """Ours beside the peer's, in one unit; ``ratio`` above 1 is better for rates."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    setting: str
