r"""Row and column log-sum-exp of a matrix of logits that is never whole, with gradients.

For queries q_i and keys k_j of the global batch and a scale s, with logits l_ij = s q_i . k_j + bias_ij,

    rows_i = log sum_j exp(l_ij),    columns_j = log sum_i exp(l_ij),

which is all that InfoNCE and its relatives need beside each row's own logit.  A tile of logits is computed once for
both; in backward once more (unless it was kept), and feeds both gradients:

    dl_ij = drows_i exp(l_ij - rows_i) + dcolumns_j exp(l_ij - columns_j).

One exponential serves both directions: exp(l_ij - c) with one c for all logits, for they are bounded where embeddings
have unit length.  Where a sum then leaves the range in which float32 is exact, everything is computed again with a
running maximum for each row and column (see online.py).

Source: Cheng et al. 2024, arXiv:2410.17243 for contrastive losses in tiles; there each direction is computed apart.
Letters: B query rows of this rank, K key rows of this rank, R rows and C columns of a tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmcontrast import comm
from mmcontrast.tiles import online
from mmcontrast.tiles.means import Means, allowed, mean
from mmcontrast.tiles.tiling import Bias, TilesConfig
from mmcontrast.tiles.walk import Side, Tile, Walk, row_dot

# Shifted logits are at most 57, so a sum of 2^40 exponentials is finite in float32; and beside a sum of 1e-25 or more,
# as many terms below float32's smallest number count nothing.
LARGEST_EXPONENT = 57.0
SMALLEST_SUM, LARGEST_SUM = 1e-25, 1e37
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class LogSumExp:
    """What :func:`logsumexp` returns.  A row that meets no key has 0, without gradient.

    The means are over the same pairs as the sums, and are those of the logits with their bias; of no row unless asked
    for.
    """

    rows: Float[Tensor, " B"]  # of this rank's queries over the present keys of all ranks
    columns: Float[Tensor, " K"]  # of this rank's keys over the present queries of all ranks
    own: Float[Tensor, " B"]  # s q_i . k_i without bias; of no row where queries and keys differ in number
    row_means: Float[Tensor, " B"]
    column_means: Float[Tensor, " K"]


def logsumexp(
    queries: Side,
    keys: Side,
    scale: Float[Tensor, 1],
    *,
    tiling: TilesConfig,
    bias: Bias | None = None,
    means: bool = False,
) -> LogSumExp:
    """Row and column log-sum-exp of scaled similarities over all ranks, in tiles.

    Every rank must bring as many keys as the others.  Gradients reach ``queries.z``, ``keys.z`` and ``scale``; as with
    :func:`mmcontrast.comm.gather` they are those of the sum over ranks of what each makes of its rows and columns
    (engines average over ranks).  They cannot be differentiated again.

    Args:
        queries: (B, D); computed in float32, or in float64 when given so.
        keys: (K, D) on each rank; K may differ from B.
        scale: what similarities are multiplied with, shape (1,), the same on every rank.
        tiling: sizes of tiles, and the memory in which they may be kept.
        bias: added to the logits of a tile, see :data:`mmcontrast.tiles.tiling.Bias`.
        means: also return the mean logit of each row and column; no tile is kept then.
    """
    dtype = torch.float64 if queries.z.dtype == torch.float64 else torch.float32
    rest = (queries.weight(dtype), keys.weight(dtype), queries.fields, keys.fields, tiling, bias)
    with torch.autocast(queries.z.device.type, enabled=False):
        return LogSumExp(*_LogSumExp.apply(queries.z.to(dtype), keys.z.to(dtype), scale.to(dtype), rest, means))


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, scale: Tensor, rest: tuple[Any, ...], means: bool):  # type: ignore[no-untyped-def]
        walk = Walk(queries, keys, scale, *rest)
        shift = max(float(scale) - LARGEST_EXPONENT, 0.0)
        kept = _Kept(walk.tiling.keep_mb * MEGABYTE if any(ctx.needs_input_grad) and not means else 0)
        counted = Means(walk) if means else None
        sums = _shifted_sums(walk, shift, kept, counted)
        if sums is None:
            counted = Means(walk) if means else None
            rows, columns = online.logsumexp(walk, counted)
        else:
            rows, columns = (torch.where(total > 0, total.log() + shift, 0.0) for total in sums)
        none = queries.new_zeros(0)
        own = row_dot(queries, keys) * scale if len(queries) == len(keys) else none
        row_means, column_means = (none, none) if counted is None else (mean(counted.rows), mean(counted.columns))
        ctx.save_for_backward(queries, keys, scale, rows, columns)
        ctx.rest, ctx.kept, ctx.shift = rest, kept, None if sums is None else shift
        ctx.counts = None if counted is None else (counted.rows[1], counted.columns[1])
        return rows, columns, own, row_means, column_means

    @staticmethod
    @once_differentiable
    def backward(ctx, drows: Tensor, dcolumns: Tensor, down: Tensor, drow_means: Tensor, dcolumn_means: Tensor):  # type: ignore[no-untyped-def]
        queries, keys, scale, rows, columns = ctx.saved_tensors
        walk = Walk(queries, keys, scale, *ctx.rest)
        at_rows, at_columns = _gradients_at_sums(ctx, rows, columns, drows, dcolumns, drow_means, dcolumn_means)
        dqueries, sums = torch.zeros_like(queries), [torch.zeros_like(keys)]
        for tile in walk.tiles(sums, *at_columns):
            dlogits = _dlogits(tile, at_rows, ctx.shift, ctx.kept, means=ctx.counts is not None)
            dqueries[tile.at].addmm_(dlogits, tile.keys)
            sums[0][tile.to].addmm_(dlogits.T, tile.scaled)
        # l = s q.k + bias, so the sum of dl_ij q_i.k_j over a rank's queries needs nothing but dl k.
        dscale = torch.dot(dqueries.view(-1), queries.reshape(-1))[None]
        dqueries *= scale
        (dkeys,) = sums
        if len(down):
            dscale += torch.dot(down, row_dot(queries, keys))
            dqueries.addcmul_(keys, (down * scale)[:, None])
            dkeys.addcmul_(queries, (down * scale)[:, None])
        return dqueries, dkeys, dscale, None, None


class _Kept:
    """Exponentials that forward leaves for backward, up to a size."""

    def __init__(self, limit_bytes: int) -> None:
        self._room = limit_bytes
        self._tiles: dict[tuple[int, int, int], Tensor] = {}

    def memory(self, tile: Tile) -> Tensor | None:
        """Memory for the tile to be computed into and kept, None when there is no more."""
        size = tile.memory.numel() * tile.memory.element_size()
        if size > self._room:
            return None
        self._room -= size
        self._tiles[tile.place] = torch.empty_like(tile.memory)
        return self._tiles[tile.place]

    def get(self, tile: Tile) -> Tensor | None:
        """The tile as it was kept, None when it was not."""
        return self._tiles.get(tile.place)

    def clear(self) -> None:
        """Forget every tile."""
        self._tiles.clear()


def _shifted_sums(walk: Walk, shift: float, kept: _Kept, means: Means | None) -> list[Tensor] | None:
    """Sums of exp(l - shift) over rows and columns, None where one of them is not exact."""
    rows, sums = walk.queries.new_zeros(len(walk.queries)), [walk.keys.new_zeros(len(walk.keys))]
    if means is not None:
        sums += means.columns
    for tile in walk.tiles(sums):
        logits = tile.logits(kept.memory(tile))
        if means is not None:
            means.add(tile, logits, sums[1:])
        exponentials = _exponentials(logits, shift)
        rows[tile.at].addmv_(exponentials, tile.key_weight)
        sums[0][tile.to].addmv_(exponentials.T, tile.query_weight)
    if means is not None:
        means.columns = sums[1:]
    outside = torch.zeros_like(walk.scale)
    for total, weight in ((rows, walk.query_weight), (sums[0], walk.key_weight)):
        outside += (weight * ~((total > SMALLEST_SUM) & (total < LARGEST_SUM))).sum()
    if float(comm.all_sum(outside)) > 0:
        kept.clear()
        return None
    return [rows, sums[0]]


def _exponentials(logits: Tensor, shift: float) -> Tensor:
    """exp(logits - shift), in place."""
    return (logits.sub_(shift) if shift else logits).exp_()


def _gradients_at_sums(  # type: ignore[no-untyped-def]
    ctx, rows: Tensor, columns: Tensor, drows: Tensor, dcolumns: Tensor, drow_means: Tensor, dcolumn_means: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """What the gradient at a logit needs of its row, and of its column; the latter travels with the keys."""
    if ctx.shift is None:
        at_rows, at_columns = [rows, drows], [columns, dcolumns]
    else:
        at_rows = [drows * (ctx.shift - rows).exp()]
        at_columns = [dcolumns * (ctx.shift - columns).exp()]
    if ctx.counts is not None:
        at_rows.append(drow_means / ctx.counts[0].clamp_min(1.0))
        at_columns.append(dcolumn_means / ctx.counts[1].clamp_min(1.0))
    return at_rows, at_columns


def _dlogits(tile: Tile, at_rows: list[Tensor], shift: float | None, kept: _Kept, *, means: bool) -> Tensor:
    exponentials = kept.get(tile)
    if exponentials is not None:
        return torch.mul(exponentials, _factors(tile, at_rows[0], tile.more[0]), out=tile.memory)
    logits = tile.logits()
    counted = allowed(logits) if means else None
    if shift is None:
        dlogits = online.dlogits(tile, logits, *at_rows[:2])
    else:
        dlogits = _exponentials(logits, shift).mul_(_factors(tile, at_rows[0], tile.more[0]))
    if counted is not None:
        dlogits.addcmul_(counted, _factors(tile, at_rows[-1], tile.more[-1]))
    return dlogits


def _factors(tile: Tile, by_row: Tensor, by_column: Tensor) -> Tensor:
    """by_row_i + by_column_j, each where the other side is present: (R, C)."""
    return torch.outer(by_row[tile.at], tile.key_weight).addr_(tile.query_weight, by_column)
