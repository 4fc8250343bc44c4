"""Every rank's block of keys visits every rank, passed from neighbour to neighbour.

Neither the largest message nor the memory grows with the number of ranks: a rank holds its own block, the visiting one
and the one that is arriving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from mmcontrast import comm


@dataclass(frozen=True)
class Visit:
    """A block of keys that is here now."""

    owner: int  # the rank it belongs to
    fixed: list[Tensor]  # read only


def visits(fixed: list[Tensor], sums: list[Tensor]) -> Iterator[Visit]:
    """Bring each rank's block here once, this rank's own first.

    Args:
        fixed: what the block is; sent on while the visitor is being worked on.
        sums: what is gathered for the block on its way; the caller adds to ``sums[i]`` in place during a visit.
            They travel with their block, and after the last visit the list holds this rank's own, complete.
    """
    world_size = comm.world_size()
    for hop in range(world_size):
        arriving = comm.pass_on(fixed) if hop < world_size - 1 else None
        yield Visit((comm.rank() - hop) % world_size, fixed)
        if arriving is not None:
            fixed = arriving.wait()
        if world_size > 1:
            sums[:] = comm.pass_on(sums).wait()
