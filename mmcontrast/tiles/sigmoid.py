r"""The pairwise sigmoid loss over a matrix of logits that is never whole, with gradients.

For queries q_i and keys k_j of the global batch, a scale s and an offset b, with l_ij = s q_i . k_j + b + bias_ij,

    sum_i sum_j softplus(-z_ij l_ij),    z_ij = 1 if i = j else -1,

over present queries i of this rank and present keys j of all ranks.  The gradient at a logit needs nothing but that
logit, so forward computes loss and gradients together and no tile is computed twice.

Source: Zhai et al. 2023, arXiv:2303.15343, section 3.3 for blocks passed between neighbours.
Letters: B query rows of this rank, K key rows of this rank, R rows and C columns of a tile.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from mmcontrast import comm
from mmcontrast.tiles.tiling import Bias, TilesConfig
from mmcontrast.tiles.walk import Side, Tile, Walk

SOFTPLUS_LINEAR_FROM = 40.0  # softplus(x) is x there, in float64 too


def sigmoid_sum(
    queries: Side,
    keys: Side,
    scale: Float[Tensor, 1],
    offset: Float[Tensor, 1],
    *,
    tiling: TilesConfig,
    bias: Bias | None = None,
) -> Float[Tensor, ""]:
    """Sum of the sigmoid loss over this rank's queries and the keys of all ranks, in tiles.

    Every rank must bring as many keys as the others.  Gradients reach both embeddings, the scale and the offset, and
    are those of the sum over ranks of the results, each times the same number: every rank must go on in the same way.
    They cannot be differentiated again.

    Args:
        queries: (B, D); computed in float32, or in float64 when given so.
        keys: (K, D) on each rank; query i and key i of a rank are the right pair.
        scale: what similarities are multiplied with, shape (1,), the same on every rank.
        offset: added to every logit, shape (1,).
        tiling: sizes of tiles; none is kept, for none is needed twice.
        bias: added to the logits of a tile, see :data:`mmcontrast.tiles.tiling.Bias`; -inf leaves a pair out.
    """
    dtype = torch.float64 if queries.z.dtype == torch.float64 else torch.float32
    with torch.autocast(queries.z.device.type, enabled=False):
        total: Tensor = _SigmoidSum.apply(
            queries.z.to(dtype),
            keys.z.to(dtype),
            scale.to(dtype),
            offset.to(dtype),
            (queries.weight(dtype), keys.weight(dtype), queries.fields, keys.fields, tiling, bias),
        )
    return total


class _SigmoidSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, scale: Tensor, offset: Tensor, rest: tuple[Any, ...]):  # type: ignore[no-untyped-def]
        walk = Walk(queries, keys, scale, *rest)
        total, doffset = queries.new_zeros(1), queries.new_zeros(1)
        need = any(ctx.needs_input_grad)
        dqueries, sums = (torch.zeros_like(queries), [torch.zeros_like(keys)]) if need else (None, [])
        for tile in walk.tiles(sums):
            logits = tile.logits().add_(offset)
            own = _own(logits, tile).neg_()  # so that softplus is the loss of right and wrong pairs alike
            losses = softplus(logits, threshold=SOFTPLUS_LINEAR_FROM)
            total += torch.dot(tile.query_weight, torch.mv(losses, tile.key_weight))
            if dqueries is None:
                continue
            dlogits = logits.sigmoid_()
            own.neg_()
            dlogits.mul_(tile.query_weight[:, None]).mul_(tile.key_weight[None, :])
            doffset += dlogits.sum()
            dqueries[tile.at].addmm_(dlogits, tile.keys)
            sums[0][tile.to].addmm_(dlogits.T, tile.scaled)
        if dqueries is not None:
            dscale = torch.dot(dqueries.view(-1), queries.reshape(-1))[None]
            ctx.save_for_backward(dqueries.mul_(scale), sums[0], dscale, doffset)
        return total.squeeze(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, dtotal: Tensor):  # type: ignore[no-untyped-def]
        return *(gradient * dtotal for gradient in ctx.saved_tensors), None


def _own(logits: Tensor, tile: Tile) -> Tensor:
    """A view of the logits of right pairs in a tile, of length 0 where it holds none."""
    met = tile.owner == comm.rank() and tile.at.start < tile.to.stop and tile.to.start < tile.at.stop
    return logits.diagonal(tile.at.start - tile.to.start) if met else logits[:0, 0]
