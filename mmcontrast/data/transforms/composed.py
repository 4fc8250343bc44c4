"""What rows are put together to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Composed:
    """Cells made of several rows', and the same put together in another order."""

    cells: dict[str, Any]  # column -> picture, waveform or captions
    other: dict[str, Any]  # as cells, where nearly the same is in another order; empty: there is none
    meaning: str  # equal for cells that mean the same, however they are said
