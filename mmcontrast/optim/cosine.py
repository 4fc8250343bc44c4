"""Linear warm-up, then half a cosine."""

from __future__ import annotations

import math
from typing import Any

from mmcontrast.config import Fraction, NonNegativeCount, config
from mmcontrast.optim import SCHEDULES
from mmcontrast.optim.warmup import warmup


@SCHEDULES.register("cosine")
class Cosine:
    """Factor of the learning rate: rises to 1 over the warm-up, falls to ``final`` at the last step.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, one cycle.
    """

    @config
    class Config:
        """Fields of the schedule."""

        warmup_steps: NonNegativeCount = 0
        final: Fraction = 0.0  # factor at the end

    def __init__(self, config: Any, *, steps: int) -> None:
        self.config, self.steps = config, steps

    def factor(self, step: int) -> float:
        """Factor of the update number ``step``, counted from 0."""
        warming = self.config.warmup_steps
        if step < warming:
            return warmup(step, warming)
        progress = min(1.0, (step - warming) / max(1, self.steps - warming))
        return self.config.final + (1 - self.config.final) * 0.5 * (1 + math.cos(math.pi * progress))
