"""Objectives with several positives a row against their formulas in plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.objectives.listwise import Listwise
from mmcontrast.objectives.poly_view import PolyView
from mmcontrast.objectives.ranking_contrast import RankingContrast
from mmcontrast.objectives.simclr import SimCLR
from mmcontrast.objectives.supcon import SupCon
from tests.objectives.made_up import GROUP, Cells, both_ways, log_sum, made_up, mean


@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("keys", ["across", "all"])
def test_supcon_averages_over_the_class(keys: str, balanced: bool, absent: float) -> None:
    columns = ("image", "image.view2", "text")
    emb = made_up(*columns, seed=1, absent=absent, group=GROUP)
    cells = Cells(emb, "group")
    everyone = [(column, row) for column in columns for row in cells.rows if cells.here(column, row)]
    expected = []
    for column, i in everyone:
        seen = [(b, j) for b, j in everyone if (b, j) != (column, i) and not (keys == "across" and b == column)]
        positives = [(b, j) for b, j in seen if j == i or cells.alike(i, j)]
        if not positives:
            continue
        total = 0.0
        for b, j in seen:
            size = sum(k == j or cells.alike(j, k) for _, k in seen) if balanced else 1
            total += math.exp(5 * cells.sim(column, i, b, j)) / size
        expected.append(mean(math.log(total) - 5 * cells.sim(column, i, b, j) for b, j in positives))
    config = SupCon.Config(columns=columns, keys=keys, balanced=balanced, temperature=0.2)
    assert float(SupCon(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_supcon_across_with_every_row_its_own_class_is_infonce() -> None:
    emb = made_up("image", "text", seed=2, group=torch.full((9,), -1))
    ours = SupCon(SupCon.Config())(emb).loss
    theirs = InfoNCE(InfoNCE.Config())(emb).loss
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("absent", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["geometric", "arithmetic", "sufficient"])
def test_poly_view_is_its_formula(kind: str, absent: float) -> None:
    views = ("image", "text", "audio")
    emb = made_up(*views, seed=3, absent=absent)
    cells = Cells(emb)

    def share(a: str, query: torch.Tensor, i: int) -> float:
        found = math.exp(5 * float(cells.vector(a, i) @ query))
        others = sum(
            math.exp(5 * float(cells.vector(c, j) @ query))
            for c in views
            for j in cells.rows
            if j != i and cells.here(c, j)
        )
        return found / (found + others)

    expected = []
    for i in cells.both(*views):
        row = []
        for a in views:
            rest = [b for b in views if b != a]
            shares = [share(a, cells.vector(b, i), i) for b in rest]
            if kind == "geometric":
                row.append(-mean(math.log(each) for each in shares))
            elif kind == "arithmetic":
                row.append(-math.log(mean(shares)))
            else:
                query = sum(cells.vector(b, i) for b in rest) / len(rest)
                row.append(-math.log(share(a, query, i)))
        expected.append(mean(row))
    config = PolyView.Config(columns=views, kind=kind, temperature=0.2)
    assert float(PolyView(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


@pytest.mark.parametrize("kind", ["geometric", "arithmetic", "sufficient"])
def test_poly_view_of_two_views_is_simclr(kind: str) -> None:
    emb = made_up("image", "image.view2", seed=4)
    ours = PolyView(PolyView.Config(columns=("image", "image.view2"), kind=kind))(emb).loss
    theirs = SimCLR(SimCLR.Config(temperature=0.1))(emb).loss
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("weights", ["linear", "log", "relative"])
def test_ranking_contrast_weighs_rows_by_relevance(weights: str) -> None:
    relevance = torch.linspace(0, 4, 9)
    emb = made_up("image", "text", seed=5, absent=0.2, group=GROUP, relevance=relevance)
    cells = Cells(emb, "group")
    rows = cells.both("image", "text")
    scores = {i: float(relevance[i]) for i in rows}
    if weights == "log":
        scores = {i: math.log(1 + score) for i, score in scores.items()}
    if weights == "relative":
        scores = {i: score / mean(float(relevance[j]) for j in rows) for i, score in scores.items()}
    expected = mean(
        scores[i]
        * mean(
            log_sum(10 * cells.sim(a, i, b, j) for j in [i, *cells.negatives(b, i)]) - 10 * cells.sim(a, i, b, i)
            for a, b in both_ways(("image", "text"))
        )
        for i in rows
    )
    config = RankingContrast.Config(temperature=0.1, weights=weights, group="group")
    assert float(RankingContrast(config)(emb).loss.detach()) == pytest.approx(expected, rel=2e-5)


def test_listwise_compares_two_distributions_over_each_list() -> None:
    relevance = torch.linspace(0, 4, 9)
    emb = made_up("image", "text", seed=6, absent=0.1, group=GROUP, relevance=relevance)
    cells = Cells(emb, "group")
    expected = []
    for i in cells.rows:
        listed = [j for j in cells.rows if cells.here("image", j) and (j == i or cells.alike(i, j))]
        if not cells.here("text", i) or len(listed) < 2:
            continue
        wanted = [math.exp(float(relevance[j]) / 0.5) for j in listed]
        logits = [10 * cells.sim("text", i, "image", j) for j in listed]
        expected.append(
            -sum(
                weight / sum(wanted) * (logit - log_sum(logits)) for weight, logit in zip(wanted, logits, strict=True)
            )
        )
    assert expected
    config = Listwise.Config(temperature=0.1, relevance_temperature=0.5)
    assert float(Listwise(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)
