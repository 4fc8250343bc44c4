"""Linear warm-up, then a fall with the square root of time, with an optional linear cool-down."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.optim import SCHEDULES
from mmcontrast.optim.warmup import warmup


@SCHEDULES.register("inverse_sqrt")
class InverseSqrt:
    """Factor of the learning rate: rises to 1, falls as ``sqrt(timescale / (timescale + time))``, and to 0 at the end.

    Up to the cool-down nothing depends on the length of the run.

    Relations: the Transformer's schedule when ``timescale_steps = warmup_steps``.
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 3; with a time scale and a cool-down: Zhai et al. 2021,
    arXiv:2106.04560, section 3.5.
    """

    @config
    class Config:
        """Fields of the schedule."""

        warmup_steps: NonNegativeCount = 0
        timescale_steps: Count = 10_000  # updates after the warm-up until the factor is 0.71
        cooldown_steps: NonNegativeCount = 0  # last updates, over which it also falls linearly to 0

    def __init__(self, config: Any, *, steps: int) -> None:
        self.config, self.steps = config, steps

    def factor(self, step: int) -> float:
        """Factor of the update number ``step``, counted from 0."""
        warming, scale = self.config.warmup_steps, self.config.timescale_steps
        if step < warming:
            return warmup(step, warming)
        cooldown = self.config.cooldown_steps
        ending = min(1.0, (self.steps - step) / cooldown) if cooldown else 1.0
        return ending * (scale / (scale + step - warming)) ** 0.5
