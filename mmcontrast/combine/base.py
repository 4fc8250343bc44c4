"""What every combiner offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.types import Terms


class Combiner(nn.Module):
    """Losses by objective's name, each already times its ``weight`` -> one loss, with the factors to log.

    Factors must come out the same on every rank; state moves in :meth:`after_step`.
    """

    class Config:
        """Fields of the combiner; each subclass has its own."""

    def __init__(self, config: Any, *, names: Sequence[str]) -> None:
        super().__init__()
        self.config, self.names = config, tuple(names)

    @staticmethod
    def problems(config: Any, names: Sequence[str]) -> list[str]:
        """What cannot work with objectives of these names, as sentences; nothing by default."""
        return []

    def factors(self, losses: dict[str, Tensor], shared: list[Tensor]) -> dict[str, Tensor]:
        """Return a factor of shape () for each loss.

        Args:
            shared: the embeddings that the losses were computed from.
        """
        raise NotImplementedError

    def penalty(self) -> Tensor | float:
        """What is added to the sum; nothing by default."""
        return 0.0

    def forward(self, losses: dict[str, Tensor], shared: list[Tensor]) -> Terms:
        """Return the sum of the losses times their factors."""
        factors = self.factors(losses, shared)
        total = torch.stack([factors[name] * loss for name, loss in losses.items()]).sum() + self.penalty()
        return Terms(total, {f"factor/{name}": factor.detach() for name, factor in factors.items()})

    def after_step(self) -> None:
        """Move state once an update is done."""
