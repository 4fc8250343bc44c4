"""What contrastive objectives share: each row's similarities to the keys of all ranks, a tile of rows at a time.

Letters: B rows on this rank, G rows on all ranks, R rows of a tile, K keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives.base import Similarity, own_columns
from mmcontrast.types import Embedded, Embeddings, Needs

Temperature = Annotated[float, Ge(0.01), Le(1)]  # the range of a logit scale, 1 to 100
TILE_CELLS = 2**22  # similarities held at a time; larger matrices are computed tile by tile, twice
MASKED = -1e9  # stands for minus infinity: sums over nothing stay finite, and so do their gradients

Own = Literal["positive", "self", "negative"]


@config
class PairConfig:
    """Fields of an objective over one pair of columns."""

    pair: tuple[str, str] = ("image", "text")
    weight: NonNegative = 1.0  # factor of this objective in the run's loss
    group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

    def __post_init__(self) -> None:
        if self.pair[0] == self.pair[1]:
            raise ValueError(f"pair: '{self.pair[0]}' stands with itself; name two different columns.")


@config
class ScaledPairConfig(PairConfig):
    """Fields of an objective over one pair of columns, with a temperature."""

    temperature: Temperature = 0.07  # start of the temperature (CLIP)
    learn_temperature: bool = True


@dataclass(frozen=True)
class Key:
    """A column to compare with, and what a query's own row means there."""

    column: Embedded
    own: Own  # positive: what to find; self: left out; negative: as wrong as every other row


@dataclass(frozen=True)
class Tile:
    """Some rows of this rank against every key."""

    rows: slice  # of this rank
    similarity: Float[Tensor, "R K"]
    positive: Bool[Tensor, "R K"]  # the row's own cell in the columns where that is the positive
    negative: Bool[Tensor, "R K"]  # present, of another row and another group
    alike: Bool[Tensor, "R K"]  # present, of another row and the same group; all False without a group


PerRow = Callable[[Tile], Tensor]


def pair_needs(pair: Sequence[str], group: str | None) -> Needs:
    """Needs of some columns and an optional group label."""
    return Needs(embeddings=tuple(sorted(set(pair))), labels=(group,) if group else ())


def compare(
    query: Embedded,
    keys: Sequence[Key],
    per_row: PerRow,
    *,
    group: Tensor | None = None,
    similarity: Similarity | None = None,
    beside: int = 0,
) -> Tensor:
    """Apply ``per_row`` to each row's similarities with all ranks' keys: (B,), or (B, n) if it returns (R, n).

    Only one tile of similarities is in memory at a time; backward computes each tile again.

    Args:
        keys: columns of this rank, gathered here in this order.
        group: (B,) rows of equal value are ``alike``; negative values are no group.
        similarity: of rows with keys; None: the dot product.
        beside: how many more keys ``per_row`` compares each row with by itself; tiles have as many rows less.
    """
    rows = len(query.z)
    table = _KeyTable.gathered(keys, group, similarity or _dot_product)
    tile_rows = max(1, TILE_CELLS // (len(table.z) + beside))
    if rows <= tile_rows:
        return per_row(table.tile(query.z, slice(0, rows), group))

    def part(z: Tensor, first: int) -> Tensor:
        return per_row(table.tile(z, slice(first, first + len(z)), group))

    parts = [
        checkpoint(part, query.z[first : first + tile_rows], first, use_reentrant=False, preserve_rng_state=False)
        for first in range(0, rows, tile_rows)
    ]
    return torch.cat(parts)


def _dot_product(a: Float[Tensor, "A D"], b: Float[Tensor, "B D"]) -> Float[Tensor, "A B"]:
    return a @ b.T


@dataclass(frozen=True)
class _KeyTable:
    z: Float[Tensor, "K D"]
    present: Bool[Tensor, " K"]
    group: Tensor | None  # (K,)
    owns: tuple[Own, ...]  # one a column; each column has K / len(owns) keys, in row order
    similarity: Similarity

    @staticmethod
    def gathered(keys: Sequence[Key], group: Tensor | None, similarity: Similarity) -> _KeyTable:
        return _KeyTable(
            torch.cat([comm.gather(key.column.z) for key in keys]).float(),
            torch.cat([comm.gather(key.column.present) for key in keys]),
            None if group is None else comm.gather(group).repeat(len(keys)),
            tuple(key.own for key in keys),
            similarity,
        )

    def tile(self, z: Tensor, rows: slice, group: Tensor | None) -> Tile:
        device = z.device
        mine = own_columns(rows.stop, device)[rows.start :]  # (R,) global row numbers
        per_column = len(self.z) // len(self.owns)
        same_row = mine[:, None] == torch.arange(per_column, device=device)[None, :]  # (R, G)
        nothing = torch.zeros_like(same_row)
        positive = torch.cat([same_row if own == "positive" else nothing for own in self.owns], dim=1)
        excluded = torch.cat([nothing if own == "negative" else same_row for own in self.owns], dim=1)
        negative = self.present[None, :] & ~excluded
        alike = torch.zeros_like(negative)
        if group is not None and self.group is not None:
            here = group[rows]
            same = (here[:, None] == self.group[None, :]) & (here[:, None] >= 0)
            # A column of made negatives holds what is wrong for its whole group.
            made = torch.cat([torch.full_like(nothing, own == "negative") for own in self.owns], dim=1)
            alike = negative & same & ~made
            negative = negative & ~alike
        return Tile(rows, self.similarity(z.float(), self.z), positive, negative, alike)


def symmetric(
    emb: Embeddings, config: Any, per_row: PerRow, *, within: bool = False, similarity: Similarity | None = None
) -> Float[Tensor, ""]:
    """Mean over rows with both columns present of ``per_row``, averaged over the two directions of the pair.

    Args:
        config: a :class:`PairConfig`.
        within: the other rows of the query's own column are keys too.
        similarity: of rows with keys; None: the dot product.
    """
    return symmetric_by_side(
        emb, config, lambda tile, query, side: per_row(tile), within=within, similarity=similarity
    )


def symmetric_by_side(
    emb: Embeddings,
    config: Any,
    per_row: Callable[[Tile, Tensor, int], Tensor],
    *,
    within: bool = False,
    similarity: Similarity | None = None,
    beside: int = 0,
) -> Float[Tensor, ""]:
    """:func:`symmetric` for losses that compare a query with more than the batch's keys.

    Args:
        per_row: takes a tile, its queries (R, D) and the place of the query column in the pair.
        beside: as :func:`compare` has it.
    """
    columns = [emb[name] for name in config.pair]
    group = emb.label(config.group) if config.group else None
    total = torch.zeros(len(columns[0].z), device=columns[0].z.device)
    for side, query in enumerate(columns):
        keys = [Key(columns[1 - side], "positive"), *([Key(query, "self")] if within else [])]
        queries = query.z.float()

        def one_side(tile: Tile, queries: Tensor = queries, side: int = side) -> Tensor:
            return per_row(tile, queries[tile.rows], side)

        total = total + compare(query, keys, one_side, group=group, similarity=similarity, beside=beside) / 2
    return comm.row_mean(total, (columns[0].present & columns[1].present).float())


def picked(values: Float[Tensor, "R K"], where: Bool[Tensor, "R K"]) -> Float[Tensor, " R"]:
    """Sum of a row's values where a mask holds; with one True a row, that value."""
    return values.masked_fill(~where, 0.0).sum(dim=1)


def log_sum_exp(logits: Float[Tensor, "R K"], where: Bool[Tensor, "R K"]) -> Float[Tensor, " R"]:
    """Log of the sum of exponentials where a mask holds; ``MASKED`` or less for a row with none."""
    return logits.masked_fill(~where, MASKED).logsumexp(dim=1)


def cross_entropy_row(tile: Tile, logits: Float[Tensor, "R K"]) -> Float[Tensor, " R"]:
    """``-log softmax`` of the row's one positive among itself and its negatives."""
    return log_sum_exp(logits, tile.positive | tile.negative) - picked(logits, tile.positive)


def gathered_rows(emb: Embeddings, names: Sequence[str]) -> list[Float[Tensor, "N D"]]:
    """Embeddings of all ranks' rows that have every one of ``names``, in row order, with gradient."""
    present = torch.stack([emb[name].present for name in names]).all(dim=0)
    kept = comm.gather(present)
    return [comm.gather(emb[name].z).float()[kept] for name in names]
