"""Log-sum-exp with a running maximum for each row and column: slower, and exact for logits of any size.

Source: the running maximum is Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.tiles.means import Means
from mmcontrast.tiles.walk import Tile, Walk


def logsumexp(walk: Walk, means: Means | None) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of this rank's rows and of its columns over all ranks; 0 where there is nothing to sum."""
    rows = [walk.queries.new_full((len(walk.queries),), -torch.inf), walk.queries.new_zeros(len(walk.queries))]
    columns = [walk.keys.new_full((len(walk.keys),), -torch.inf), walk.keys.new_zeros(len(walk.keys))]
    if means is not None:
        columns += means.columns
    for tile in walk.tiles(columns):
        logits = tile.logits()
        if means is not None:
            means.add(tile, logits, columns[2:])
        _add(logits.masked_fill(tile.key_weight[None, :] == 0, -torch.inf), rows, tile.at)
        _add(logits.masked_fill(tile.query_weight[:, None] == 0, -torch.inf).T, columns, tile.to)
    if means is not None:
        means.columns = columns[2:]
    return _finish(rows), _finish(columns[:2])


def dlogits(
    tile: Tile, logits: Float[Tensor, "R C"], rows: Float[Tensor, " B"], drows: Float[Tensor, " B"]
) -> Float[Tensor, "R C"]:
    """Gradient at a tile's logits; ``tile.more`` begins with the log-sum-exp of its columns and the gradient there."""
    columns, dcolumns = tile.more[:2]
    # Masked, not multiplied by 0: a logit of an absent row may exceed what exp can hold.
    by_row = (logits - rows[tile.at][:, None]).masked_fill_(tile.key_weight[None, :] == 0, -torch.inf).exp_()
    by_column = (logits - columns[None, :]).masked_fill_(tile.query_weight[:, None] == 0, -torch.inf).exp_()
    return by_row.mul_(drows[tile.at][:, None]).addcmul_(by_column, dcolumns[None, :])


def _add(logits: Tensor, state: list[Tensor], at: slice) -> None:
    """Bring the maxima and the sums of rows ``at`` up to date with more logits of theirs."""
    largest, total = state[0][at], state[1][at]
    now = torch.maximum(largest, logits.amax(dim=1))
    base = now.masked_fill(now == -torch.inf, 0.0)  # nothing summed yet: exp(-inf - 0) is 0, exp(-inf + inf) is not
    total.mul_((largest - base).exp()).add_((logits - base[:, None]).exp_().sum(dim=1))
    largest.copy_(now)


def _finish(state: list[Tensor]) -> Tensor:
    largest, total = state
    return torch.where(total > 0, largest + total.log(), 0.0)
