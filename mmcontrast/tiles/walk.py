"""Walk over the tiles of this rank's queries against the keys of all ranks.

Letters: B query rows of this rank, K key rows of a rank, R rows and C columns of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmcontrast import comm
from mmcontrast.tiles.ring import visits
from mmcontrast.tiles.tiling import Bias, Rows, TilesConfig, positions


@dataclass(frozen=True)
class Side:
    """Queries or keys: this rank's rows of one column.

    Absent rows must hold zeros.  ``fields`` are labels of the rows that a bias reads; they travel with the keys.
    """

    z: Float[Tensor, "B D"]
    present: Bool[Tensor, " B"] | None = None  # None: all
    fields: dict[str, Tensor] = field(default_factory=dict)

    def weight(self, dtype: torch.dtype) -> Float[Tensor, " B"]:
        """1 for a present row, 0 for an absent one."""
        if self.present is None:
            return self.z.new_ones(len(self.z), dtype=dtype)
        return self.present.to(dtype)


@dataclass(frozen=True)
class Walk:
    """The tensors of both passes over the tiles, without gradients."""

    queries: Float[Tensor, "B D"]
    keys: Float[Tensor, "K D"]
    scale: Float[Tensor, 1]
    query_weight: Float[Tensor, " B"]
    key_weight: Float[Tensor, " K"]
    query_fields: dict[str, Tensor]
    key_fields: dict[str, Tensor]
    tiling: TilesConfig
    bias: Bias | None

    def tiles(self, sums: list[Tensor], *more: Tensor) -> Iterator[Tile]:
        """Every tile once: this rank's own keys first, then each visiting block, query rows by query rows.

        Args:
            sums: what is gathered for each key, (K, ...); see :func:`mmcontrast.tiles.ring.visits`.
            more: what else travels with the keys, (K, ...) each; a tile has its part in ``Tile.more``.
        """
        rows, columns = (min(self.tiling.rows, len(self.queries)), min(self.tiling.columns, len(self.keys)))
        memory = self.queries.new_empty(rows * columns)
        queries = Rows(positions(len(self.queries), comm.rank(), self.queries.device), self.query_fields)
        for visit in visits([self.keys, self.key_weight, *more, *self.key_fields.values()], sums):
            keys, key_weight, *rest = visit.fixed
            labels = dict(zip(self.key_fields, rest[len(more) :], strict=True))
            key_rows = Rows(positions(len(keys), visit.owner, keys.device), labels)
            for top in range(0, len(self.queries), rows):
                at = slice(top, min(top + rows, len(self.queries)))
                scaled = self.queries[at] * self.scale
                for left in range(0, len(keys), columns):
                    to = slice(left, min(left + columns, len(keys)))
                    yield Tile(
                        owner=visit.owner,
                        at=at,
                        to=to,
                        scaled=scaled,
                        keys=keys[to],
                        query_weight=self.query_weight[at],
                        key_weight=key_weight[to],
                        query_rows=queries.part(at),
                        key_rows=key_rows.part(to),
                        more=[each[to] for each in rest[: len(more)]],
                        bias=self.bias,
                        memory=memory[: (at.stop - at.start) * (to.stop - to.start)].view(at.stop - at.start, -1),
                    )


@dataclass(frozen=True)
class Tile:
    """A rectangle of the matrix of logits, not yet computed."""

    owner: int  # the rank that the keys belong to
    at: slice  # rows of this rank's queries
    to: slice  # rows of the owner's keys
    scaled: Float[Tensor, "R D"]  # queries times scale
    keys: Float[Tensor, "C D"]
    query_weight: Float[Tensor, " R"]
    key_weight: Float[Tensor, " C"]
    query_rows: Rows
    key_rows: Rows
    more: list[Tensor]
    bias: Bias | None
    memory: Float[Tensor, "R C"]  # the same for every tile

    def logits(self, out: Tensor | None = None) -> Float[Tensor, "R C"]:
        """Compute the tile into ``out``, else into the memory that the next tile will use again."""
        out = self.memory if out is None else out
        torch.mm(self.scaled, self.keys.T, out=out)
        if self.bias is not None:
            added = self.bias(out, self.query_rows, self.key_rows)
            if added is not None:
                out.add_(added)
        return out

    @property
    def place(self) -> tuple[int, int, int]:
        """A name for the tile that both passes agree on."""
        return self.owner, self.at.start, self.to.start


def row_dot(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Dot product of each row of ``a`` with that of ``b``, without a matrix between."""
    return torch.bmm(a[:, None, :], b[:, :, None]).reshape(-1)
