"""A measurement over seeds."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

# Two-sided 95% quantiles of Student's t for 1 to 9 degrees of freedom: 2 to 10 seeds.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Number:
    """Values of several seeds, with their mean and half of its 95% interval (None with one seed)."""

    values: list[float]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def half(self) -> float | None:
        """Student's t times the standard error."""
        count = len(self.values)
        if count < 2:
            return None
        return T_95[count - 2] * statistics.stdev(self.values) / math.sqrt(count)

    def minus(self, other: Number) -> Number | None:
        """Differences seed by seed, of runs that saw the same rows; None where the seeds are not the same number."""
        if len(self.values) != len(other.values):
            return None
        return Number([a - b for a, b in zip(self.values, other.values, strict=True)])

    @property
    def is_apart_from_zero(self) -> bool:
        """The interval leaves out zero."""
        return self.half is not None and abs(self.mean) > self.half
