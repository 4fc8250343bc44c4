"""A ring of past keys, the same on every rank."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.types import Embedded


class KeyQueue(nn.Module):
    """The newest ``size`` present keys of all ranks, oldest overwritten first.

    Buffers, so that checkpoints carry them and a resumed run goes on bit for bit.
    """

    z: Float[Tensor, "Q D"]
    group: Int[Tensor, " Q"]
    filled: Bool[Tensor, " Q"]
    position: Int[Tensor, " 1"]

    def __init__(self, *, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("z", torch.zeros(size, dim))
        self.register_buffer("group", torch.full((size,), -1))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Embedded, group: Tensor | None = None) -> None:
        """Add every rank's present rows, in rank order; collective.

        Args:
            group: (B,) labels that travel with the keys; -1 where there is none.
        """
        present = comm.gather(keys.present)
        z = comm.gather(keys.z.detach().float())[present][-self.size :]
        if not len(z):
            return
        places = (int(self.position) + torch.arange(len(z), device=z.device)) % self.size
        self.z[places] = z
        self.filled[places] = True
        if group is not None:
            self.group[places] = comm.gather(group)[present][-self.size :].to(self.group.dtype)
        self.position.fill_((int(self.position) + len(z)) % self.size)

    def allowed(self, group: Tensor | None) -> Bool[Tensor, "B Q"]:
        """Keys that may be negatives of each row: there, and not of its group.

        Args:
            group: (B,) or None, which allows every key that is there.
        """
        if group is None:
            return self.filled[None, :]
        same = (group[:, None] == self.group[None, :]) & (group[:, None] >= 0)
        return self.filled[None, :] & ~same


def too_small(name: str, size: int, batch_rows: int) -> list[str]:
    """The problem of a queue that cannot hold one batch, as a list of at most one sentence."""
    if size >= batch_rows:
        return []
    return [f"{name}: queue = {size} holds less than one batch of {batch_rows} rows. Raise it to several batches."]
