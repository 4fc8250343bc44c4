"""Exponential moving average of the trained weights: when it moves, and by how much."""

from __future__ import annotations

from mmcontrast.config import Count, Fraction, config


@config
class AverageConfig:
    """Fields of the average; engines keep it, in float32, beside the optimizer's states.

    It begins as a copy of the weights at its first move.  What is not trained is not averaged.

    Source: Tarvainen and Valpola 2017, arXiv:1703.01780, equation 1; the warm-up is that of TensorFlow's
    ``ExponentialMovingAverage``.
    """

    decay: Fraction = 0.9999  # share that the average keeps of itself at each update
    warmup: bool = True  # the share rises to decay, as (1 + updates) / (10 + updates): a young average follows quickly
    every_steps: Count = 1  # steps between moves; one move keeps decay ** every_steps

    def keep(self, step: int) -> float | None:
        """Share that is kept after the update number ``step``, counted from 0; None: no move is due."""
        updates = step + 1
        if updates % self.every_steps:
            return None
        decay = min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay
        return decay**self.every_steps
