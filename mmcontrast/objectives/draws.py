"""Random draws of objectives: a function of a counter, the same on every rank and after a restart."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Draws(nn.Module):
    """A counter in the checkpoint, and a generator made from it.

    ``forward`` of an objective may run twice for one update, on several ranks: what it draws must not depend on when
    or where it runs.  The counter moves in ``after_step``.
    """

    count: Tensor

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def generator(self) -> torch.Generator:
        """A CPU generator for the draws of this update."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.count))

    def advance(self) -> None:
        """Go on to the next update's draws."""
        self.count += 1
