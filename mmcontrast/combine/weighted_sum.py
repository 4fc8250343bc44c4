"""The sum of the objectives, whose weights may change over the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmcontrast.combine import COMBINERS
from mmcontrast.combine.base import Combiner
from mmcontrast.config import Count, NonNegative, NonNegativeCount, config
from mmcontrast.errors import did_you_mean
from mmcontrast.types import Terms


@config
class Ramp:
    """A factor that goes from one value to another in a straight line, and stays outside of it."""

    begin: NonNegativeCount = 0  # last update with the first value
    end: Count  # first update with the last value
    first: NonNegative = 0.0
    last: NonNegative = 1.0

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ValueError(f"end = {self.end} must be later than begin = {self.begin}.")


@COMBINERS.register("sum", "weighted_sum")
class WeightedSum(Combiner):
    """Each objective times its ``weight``, and times its ramp where it has one.

    Source: curricula over losses, Bengio et al. 2009 (ICML), with straight ramps.
    """

    @config
    class Config:
        """Fields of the combiner."""

        ramps: dict[str, Ramp] = {}  # objective -> how its factor changes; 1 where there is none

    updates: Tensor

    def __init__(self, config: Any, *, names: Sequence[str]) -> None:
        super().__init__(config, names=names)
        if config.ramps:  # a count in the state, so that a resumed run goes on along its ramps
            self.register_buffer("updates", torch.zeros(1, dtype=torch.int64))

    @staticmethod
    def problems(config: Any, names: Sequence[str]) -> list[str]:
        """Ramps of objectives that the run does not have."""
        return [
            f"combine.ramps.{name}: there is no objective '{name}'.{did_you_mean(name, names)}"
            for name in config.ramps
            if name not in names
        ]

    def forward(self, losses: dict[str, Tensor], shared: list[Tensor]) -> Terms:
        """Return the sum; only factors that change are logged."""
        terms = super().forward(losses, shared)
        return Terms(terms.loss, {f"factor/{name}": terms.scalars[f"factor/{name}"] for name in self.config.ramps})

    def factors(self, losses: dict[str, Tensor], shared: list[Tensor]) -> dict[str, Tensor]:
        """The ramps' values at this update."""
        return {name: self._factor(name, loss) for name, loss in losses.items()}

    def _factor(self, name: str, loss: Tensor) -> Tensor:
        ramp = self.config.ramps.get(name)
        if ramp is None:
            return loss.new_ones(())
        share = ((self.updates[0] - ramp.begin) / (ramp.end - ramp.begin)).clamp(0, 1)
        return (ramp.first + (ramp.last - ramp.first) * share).to(loss.dtype)

    def after_step(self) -> None:
        """Count the update."""
        if self.config.ramps:
            self.updates += 1
