"""The sigmoid loss in tiles against its formula over the whole matrix, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmcontrast.tiles.sigmoid import sigmoid_sum
from mmcontrast.tiles.tiling import other_groups
from mmcontrast.tiles.walk import Side
from tests.tiles.test_logsumexp import GROUP, KEYS_PRESENT, QUERIES_PRESENT, SMALL, rows


def in_tiles(queries: Tensor, keys: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return sigmoid_sum(
        Side(queries, QUERIES_PRESENT, {"group": GROUP}),
        Side(keys, KEYS_PRESENT, {"group": GROUP}),
        scale,
        offset,
        tiling=SMALL,
        bias=other_groups,
    )


def whole(queries: Tensor, keys: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    own = torch.eye(len(GROUP), dtype=torch.bool)
    counted = QUERIES_PRESENT[:, None] & KEYS_PRESENT[None, :] & (own | (GROUP[:, None] != GROUP[None, :]))
    logits = torch.where(own, 1.0, -1.0) * (scale * queries @ keys.T + offset)
    return -(logsigmoid(logits) * counted).sum()


@pytest.mark.parametrize("scale", [5.0, 90.0])
def test_it_is_the_formula_and_its_gradients(scale: float) -> None:
    inputs = [
        rows(QUERIES_PRESENT, seed=0),
        rows(KEYS_PRESENT, seed=1),
        torch.tensor([scale], dtype=torch.double, requires_grad=True),
        torch.tensor([-3.0], dtype=torch.double, requires_grad=True),
    ]
    got, expected = in_tiles(*inputs), whole(*inputs)
    torch.testing.assert_close(got, expected)
    ours, theirs = (torch.autograd.grad(3 * total, inputs) for total in (got, expected))
    for present, mine, its in zip((QUERIES_PRESENT, KEYS_PRESENT), ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(mine[present], its[present])
    torch.testing.assert_close(ours[2:], theirs[2:])


def test_gradients_are_finite_differences() -> None:
    def present_only(queries: Tensor, keys: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        return in_tiles(queries * QUERIES_PRESENT[:, None], keys * KEYS_PRESENT[:, None], scale, offset)

    scalars = [torch.tensor([value], dtype=torch.double, requires_grad=True) for value in (5.0, -1.0)]
    assert torch.autograd.gradcheck(
        present_only, (rows(QUERIES_PRESENT, seed=0), rows(KEYS_PRESENT, seed=1), *scalars)
    )
