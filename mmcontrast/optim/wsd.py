"""Warm-up, stable, decay: a constant learning rate that falls over the last part of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from mmcontrast.config import Fraction, NonNegativeCount, config
from mmcontrast.optim import SCHEDULES
from mmcontrast.optim.warmup import warmup

Shape = Literal["linear", "cosine", "one_minus_sqrt"]

# How much is left of the fall, by the part of it that is done (0 to 1).
SHAPES: dict[Shape, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "one_minus_sqrt": lambda done: 1 - math.sqrt(done),
}


@SCHEDULES.register("wsd")
class WarmupStableDecay:
    """Factor of the learning rate: rises to 1, stays there, and falls to ``final`` over the last ``decay`` of the run.

    A run that is to go on trains from a checkpoint before the fall: up to there nothing depends on its length.

    Relations: ``constant`` with ``cooldown_steps = decay * steps`` when the shape is linear and ``final`` is 0.
    Source: Hu et al. 2024, arXiv:2404.06395, section 4.2; one_minus_sqrt: Hagele et al. 2024, arXiv:2405.18392.
    """

    @config
    class Config:
        """Fields of the schedule."""

        warmup_steps: NonNegativeCount = 0
        decay: Fraction = 0.2  # share of the run's updates (a fifth: Hagele et al.)
        shape: Shape = "one_minus_sqrt"
        final: Fraction = 0.0  # factor at the end

    def __init__(self, config: Any, *, steps: int) -> None:
        self.config, self.steps = config, steps
        self._falling = round(config.decay * steps)

    def factor(self, step: int) -> float:
        """Factor of the update number ``step``, counted from 0."""
        left = self.steps - step
        if step < self.config.warmup_steps or left >= self._falling:
            return warmup(step, self.config.warmup_steps)
        share: float = SHAPES[self.config.shape](min(1.0, 1 - left / self._falling))
        return self.config.final + (1 - self.config.final) * share
