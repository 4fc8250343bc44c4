"""A row between its shard and its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Decoded:
    """One row before its random changes: pictures, waveforms (or bytes of either), captions and labels."""

    key: str
    cells: dict[str, Any]
    group: int
    labels: dict[str, Any]
    parts: tuple[str, str] | None  # what the row is called as the first and as the second part of a joined caption
    other: dict[str, Any] = field(default_factory=dict)  # cells of joined rows put together in another order
    fields: dict[str, Any] = field(default_factory=dict)  # JSON fields that derivations read


@dataclass(frozen=True)
class Drawn:
    """One decoded and transformed row; columns the row lacks are not in ``values``."""

    key: str
    values: dict[str, Any]  # image: uint8 (3, S, S); audio: float32 (samples,), or a dict (fusion); text: str
    group: int  # -1: no group
    labels: dict[str, Any] = field(default_factory=dict)  # those that the row's source has
    later: dict[str, Callable[[], Any | None]] = field(default_factory=dict)  # columns still to be made


def completed(rows: Iterable[Drawn]) -> list[Drawn]:
    """Rows with the columns that were left for later: code that runs row after row stays in the processor's caches."""
    done = list(rows)
    for row in done:
        for column, make in row.later.items():
            value = make()
            if value is not None:
                row.values[column] = value
        row.later.clear()
    return done
