"""A filter measures, then judges: the measured value is kept, so that a report shows what a limit cuts off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from data_pipelines.media import Look
from mmcontrast.data.manifest import Manifest

Value = float | str  # what is measured; compared with limits, or with names


class Filter:
    """Base of every filter.

    A filter of scope "row" measures one value a row; None where the row lacks the column, which is no reason to drop
    it.  A filter of scope "caption" measures one value a caption: captions that fail are removed, and the row goes
    with its last one.
    """

    Config: ClassVar[type]
    scope: ClassVar[Literal["row", "caption"]] = "row"
    unit: ClassVar[str] = ""  # of the measured value, for the report
    reads: ClassVar[tuple[str, ...]] = ()  # columns that the set must have, though not every row

    def __init__(self, config: Any, *, manifest: Manifest) -> None:
        self.config = config
        self.manifest = manifest

    def measure(self, look: Look) -> Value | None:
        """Measure a row (scope "row").

        Raises:
            SkipSample: the row does not decode.
        """
        raise NotImplementedError

    def measure_caption(self, caption: str) -> Value:
        """Measure a caption (scope "caption")."""
        raise NotImplementedError

    def measure_many(self, looks: Sequence[Look]) -> list[Value | None]:
        """Measure rows together; overridden where a model works in batches."""
        return [self.measure(look) for look in looks]

    def inputs(self) -> dict[str, str]:
        """Digests of what else the measurement depends on: a model's weights, say."""
        return {}

    def settle(self, values: list[float]) -> float | None:
        """A limit that depends on the whole set's values; None if there is none."""
        return None

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Why a value fails, in a few words; None if it passes."""
        raise NotImplementedError


def outside(value: float, *, least: float | None, most: float | None, low: str, high: str) -> str | None:
    """The words for a value below ``least`` or above ``most``."""
    if least is not None and value < least:
        return low
    if most is not None and value > most:
        return high
    return None
