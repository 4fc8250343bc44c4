"""How a matrix of logits is cut, and what may be added to it tile by tile.

Letters: B rows of this rank, R rows and C columns of a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Count, NonNegativeCount, config


@config
class TilesConfig:
    """When a loss is computed in tiles, and how large they are."""

    from_rows: NonNegativeCount = 1024  # global batches of so many rows are computed in tiles, smaller ones at once
    rows: Count = 1024  # queries of a tile
    columns: Count = 1024  # keys of a tile
    keep_mb: NonNegativeCount = 256  # tiles kept for backward, in megabytes a rank; the others are computed twice

    def apply_to(self, local_rows: int) -> bool:
        """Whether a batch of ``local_rows`` rows a rank is computed in tiles."""
        return local_rows * comm.world_size() >= self.from_rows


@dataclass(frozen=True)
class Rows:
    """What a :data:`Bias` may know of a tile's queries, or of its keys."""

    position: Int[Tensor, " R"]  # among the rows of all ranks
    fields: dict[str, Tensor] = field(default_factory=dict)  # labels of the rows, as the caller named them

    def part(self, index: slice) -> Rows:
        """A run of the rows."""
        return Rows(self.position[index], {name: value[index] for name, value in self.fields.items()})


Bias = Callable[[Tensor, Rows, Rows], Tensor | None]
"""``bias(logits, queries, keys)``: what is added to a tile's logits (R, C), None for nothing.

-inf forbids a pair.  The logits carry no gradient, and what is returned counts as constant.  Called again in
backward, where it must answer the same.
"""


def positions(rows: int, owner: int, device: torch.device) -> Int[Tensor, " B"]:
    """Places of the rows of rank ``owner`` among those of all ranks."""
    return torch.arange(rows, device=device) + owner * rows


def apart(group: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Group labels in which every row of no group (-1) is a group of its own, on all ranks."""
    alone = -1 - positions(len(group), comm.rank(), group.device)
    return torch.where(group < 0, alone, group.long())


def other_groups(logits: Float[Tensor, "R C"], queries: Rows, keys: Rows) -> Float[Tensor, "R C"]:
    """A :data:`Bias`: rows of equal ``fields["group"]`` are no negatives of each other; see :func:`apart`."""
    alike = queries.fields["group"][:, None] == keys.fields["group"][None, :]
    alike &= queries.position[:, None] != keys.position[None, :]
    return torch.zeros_like(logits).masked_fill_(alike, -torch.inf)
