"""Linear warm-up, then a constant learning rate, with an optional linear cool-down."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import NonNegativeCount, config
from mmcontrast.optim import SCHEDULES
from mmcontrast.optim.warmup import warmup


@SCHEDULES.register("constant")
class Constant:
    """Factor of the learning rate: rises to 1, stays there, and falls to 0 over the last ``cooldown_steps``."""

    @config
    class Config:
        """Fields of the schedule."""

        warmup_steps: NonNegativeCount = 0
        cooldown_steps: NonNegativeCount = 0

    def __init__(self, config: Any, *, steps: int) -> None:
        self.config, self.steps = config, steps

    def factor(self, step: int) -> float:
        """Factor of the update number ``step``, counted from 0."""
        if step < self.config.warmup_steps:
            return warmup(step, self.config.warmup_steps)
        left = self.steps - step
        return min(1.0, left / self.config.cooldown_steps) if self.config.cooldown_steps else 1.0
