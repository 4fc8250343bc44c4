"""Log-sum-exp in tiles against torch.logsumexp of the whole matrix, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.tiles.logsumexp import LogSumExp, logsumexp
from mmcontrast.tiles.tiling import Rows, TilesConfig, apart, other_groups
from mmcontrast.tiles.walk import Side

SMALL = TilesConfig(rows=3, columns=2, keep_mb=0)  # tiles that do not divide the rows
QUERIES_PRESENT = torch.tensor([True, True, False, True, True, True, False])
KEYS_PRESENT = torch.tensor([True, False, False, True, True, True, True])
GROUP = apart(torch.tensor([0, 1, -1, 0, 2, -1, 1]))


def rows(present: Tensor, *, seed: int, width: int = 5) -> Tensor:
    z = torch.randn(len(present), width, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return (normalize(z, dim=1) * present[:, None]).requires_grad_()


def in_tiles(queries: Tensor, keys: Tensor, scale: Tensor, tiling: TilesConfig, means: bool) -> LogSumExp:
    return logsumexp(
        Side(queries, QUERIES_PRESENT, {"group": GROUP}),
        Side(keys, KEYS_PRESENT, {"group": GROUP}),
        scale,
        tiling=tiling,
        bias=other_groups,
        means=means,
    )


def whole(queries: Tensor, keys: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Logits with -inf where a key, or a query, does not count: for the rows and for the columns."""
    logits = scale * (queries @ keys.T)
    alike = (GROUP[:, None] == GROUP[None, :]) & ~torch.eye(len(GROUP), dtype=torch.bool)
    logits = logits.masked_fill(alike, -torch.inf)
    by_row = logits.masked_fill(~KEYS_PRESENT[None, :], -torch.inf)
    return by_row, logits.masked_fill(~QUERIES_PRESENT[:, None], -torch.inf)


def finite_mean(logits: Tensor, dim: int) -> Tensor:
    counted = logits > -torch.inf
    return logits.masked_fill(~counted, 0.0).sum(dim) / counted.sum(dim)


@pytest.mark.parametrize("scale", [5.0, 90.0, 2000.0])  # within the shift's range, shifted, and beyond it
def test_it_is_the_log_sum_exp_of_the_whole_matrix(scale: float) -> None:
    queries, keys, factor = rows(QUERIES_PRESENT, seed=0), rows(KEYS_PRESENT, seed=1), torch.tensor([scale]).double()
    got = in_tiles(queries, keys, factor, SMALL, means=True)
    by_row, by_column = whole(queries, keys, factor)
    here, there = QUERIES_PRESENT, KEYS_PRESENT
    torch.testing.assert_close(got.rows[here], by_row.logsumexp(1)[here])
    torch.testing.assert_close(got.columns[there], by_column.logsumexp(0)[there])
    torch.testing.assert_close(got.own, factor * (queries * keys).sum(1))
    torch.testing.assert_close(got.row_means[here], finite_mean(by_row, 1)[here])
    torch.testing.assert_close(got.column_means[there], finite_mean(by_column, 0)[there])


@pytest.mark.parametrize("means", [False, True])
@pytest.mark.parametrize("keep_mb", [0, 1])
@pytest.mark.parametrize("scale", [5.0, 90.0, 300.0])
def test_gradients_are_finite_differences(scale: float, keep_mb: int, means: bool) -> None:
    tiling = TilesConfig(rows=3, columns=2, keep_mb=keep_mb)

    def results(queries: Tensor, keys: Tensor, factor: Tensor) -> tuple[Tensor, ...]:
        got = in_tiles(queries, keys, factor, tiling, means)
        counted = (got.row_means[QUERIES_PRESENT], got.column_means[KEYS_PRESENT]) if means else ()
        return got.rows[QUERIES_PRESENT], got.columns[KEYS_PRESENT], got.own, *counted

    factor = torch.tensor([scale], dtype=torch.double, requires_grad=True)
    inputs = (rows(QUERIES_PRESENT, seed=0), rows(KEYS_PRESENT, seed=1), factor)
    assert torch.autograd.gradcheck(results, inputs, eps=1e-7, atol=1e-4)


def test_more_keys_than_queries_and_a_bias_that_reads_logits() -> None:
    queries, keys = rows(torch.ones(4), seed=2), rows(torch.ones(7), seed=3)

    def harder(logits: Tensor, _queries: Rows, _keys: Rows) -> Tensor:
        return 0.5 * logits  # a hard negative weighs more: exp(l) exp(l / 2)

    scale = torch.tensor([8.0], dtype=torch.double)
    got = logsumexp(Side(queries), Side(keys), scale, tiling=SMALL, bias=harder)
    logits = scale * queries @ keys.T
    expected = (logits + 0.5 * logits.detach()).logsumexp(1)
    torch.testing.assert_close(got.rows, expected)
    assert got.own.shape == (0,)
    ours = torch.autograd.grad(got.rows.sum(), (queries, keys))
    for mine, theirs in zip(ours, torch.autograd.grad(expected.sum(), (queries, keys)), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_float32_is_as_exact_as_the_whole_matrix(scale: float) -> None:
    z = normalize(torch.randn(2, 300, 16, generator=torch.Generator().manual_seed(4)), dim=-1)
    z[1, :150] = z[0, :150]  # logits from -scale to scale
    factor = torch.tensor([scale])
    got = logsumexp(Side(z[0]), Side(z[1]), factor, tiling=TilesConfig(rows=64, columns=128))
    exact = (factor.double() * z[0].double() @ z[1].double().T).logsumexp(1)
    torch.testing.assert_close(got.rows.double(), exact, atol=1e-6 * scale, rtol=0)  # a logit's own rounding


def test_rows_without_any_key_are_zero_with_a_finite_gradient() -> None:
    queries, keys = rows(torch.ones(3), seed=5), rows(torch.zeros(3), seed=6)
    got = logsumexp(Side(queries), Side(keys, torch.zeros(3, dtype=torch.bool)), torch.tensor([5.0]), tiling=SMALL)
    assert torch.equal(got.rows, torch.zeros(3, dtype=torch.double))
    (got.rows.sum() + got.columns.sum()).backward()
    assert torch.isfinite(queries.grad).all() and torch.isfinite(keys.grad).all()


def test_kept_tiles_are_no_more_than_the_memory_for_them() -> None:
    z = rows(torch.ones(600), seed=7, width=2).float()
    scale = torch.tensor([2.0])
    values = []
    for keep_mb in (0, 1, 256):  # none, some of 1.44 MB, all
        queries = z.detach().clone().requires_grad_()
        tiling = TilesConfig(rows=100, columns=100, keep_mb=keep_mb)
        logsumexp(Side(queries), Side(z.flip(0)), scale, tiling=tiling).rows.sum().backward()
        values.append(queries.grad)
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])
