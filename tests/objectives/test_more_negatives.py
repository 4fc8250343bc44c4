"""Objectives with made, mined or noise negatives against their formulas in plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.objectives.dclr import DCLR
from mmcontrast.objectives.mined_negatives import MinedNegatives
from mmcontrast.objectives.negclip import NegCLIP
from mmcontrast.objectives.passage_centric import PassageCentric
from mmcontrast.objectives.simcse import SimCSE
from tests.objectives.made_up import GROUP, Cells, log_sum, made_up, mean


@pytest.mark.parametrize("absent", [0.0, 0.4])
def test_negclip_adds_every_made_negative_to_its_key_side(absent: float) -> None:
    emb = made_up("image", "text", "text.swapped", "image.mined", seed=1, absent=absent, group=GROUP)
    cells = Cells(emb, "group")
    expected = []
    for i in cells.both("image", "text"):
        total = 0.0
        for a, b, made in (("image", "text", "text.swapped"), ("text", "image", "image.mined")):
            keys = [cells.sim(a, i, b, j) for j in [i, *cells.negatives(b, i)]]
            keys += [cells.sim(a, i, made, j) for j in cells.rows if cells.here(made, j)]  # the row's own too
            total += log_sum(10 * each for each in keys) - 10 * cells.sim(a, i, b, i)
        expected.append(total / 2)
    config = NegCLIP.Config(temperature=0.1, first_negatives="image.mined", group="group")
    assert float(NegCLIP(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


@pytest.mark.parametrize("negative", [None, "text.swapped"])
def test_simcse_is_equation_5_and_without_contradictions_equation_4(negative: str | None) -> None:
    emb = made_up("text", "text.view2", "text.swapped", seed=2, absent=0.2)
    cells = Cells(emb)
    expected = []
    for i in cells.both("text", "text.view2"):
        keys = [cells.sim("text", i, "text.view2", j) for j in cells.rows if cells.here("text.view2", j)]
        if negative:
            keys += [cells.sim("text", i, negative, j) for j in cells.rows if cells.here(negative, j)]
        expected.append(log_sum(20 * each for each in keys) - 20 * cells.sim("text", i, "text.view2", i))
    found = float(SimCSE(SimCSE.Config(negative=negative))(emb).loss.detach())
    assert found == pytest.approx(mean(expected), rel=2e-5)


@pytest.mark.parametrize("denoised", [False, True])
def test_mined_negatives_are_everyones_unless_their_score_is_high(denoised: bool) -> None:
    columns = ("text", "image", "image.mined", "image.view2")
    scores = {"first": torch.linspace(0, 1, 9), "second": torch.linspace(1, 0, 9)}
    emb = made_up(*columns, seed=3, absent=0.2, **scores)
    cells = Cells(emb)
    expected = []
    for i in cells.both("text", "image"):
        keys = [cells.sim("text", i, "image", j) for j in cells.rows if cells.here("image", j)]
        for column, score in (("image.mined", "first"), ("image.view2", "second")):
            for j in cells.rows:
                if cells.here(column, j) and not (denoised and float(scores[score][j]) >= 0.7):
                    keys.append(cells.sim("text", i, column, j))
        expected.append(log_sum(10 * each for each in keys) - 10 * cells.sim("text", i, "image", i))
    config = MinedNegatives.Config(
        negatives=("image.mined", "image.view2"),
        scores=("first", "second") if denoised else (),
        drop_above=0.7,
        temperature=0.1,
    )
    assert float(MinedNegatives(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


@pytest.mark.parametrize("negative", [None, "image.mined"])
def test_passage_centric_mixes_its_two_directions(negative: str | None) -> None:
    emb = made_up("text", "image", "image.mined", seed=4, absent=0.3, group=GROUP)
    cells = Cells(emb, "group")
    expected = []
    for i in cells.both("text", "image"):
        found = 10 * cells.sim("text", i, "image", i)
        others = [("image", j) for j in cells.negatives("image", i)]
        others += [(negative, j) for j in cells.rows if negative and cells.here(negative, j)]
        query = log_sum([found, *[10 * cells.sim("text", i, column, j) for column, j in others]]) - found
        passage = log_sum([found, *[10 * cells.sim("image", i, column, j) for column, j in others]]) - found
        expected.append(0.7 * query + 0.3 * passage)
    config = PassageCentric.Config(negative=negative, alpha=0.3, temperature=0.1, group="group")
    assert float(PassageCentric(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_dclr_drops_near_negatives_and_adds_noise_that_moved_uphill() -> None:
    emb = made_up("text", "text.view2", seed=5, absent=0.2)
    cells = Cells(emb)
    config = DCLR.Config(threshold=0.3, noise=4, ascent=3, step=0.05, temperature=0.2)
    objective = DCLR(config)
    rows = cells.both("text", "text.view2")
    noise = torch.randn(4, 8, generator=objective.random.generator()).double()
    for _ in range(3):
        moving = noise.clone().requires_grad_()
        units = normalize(moving, dim=1)
        apart = [torch.logsumexp(5 * units @ cells.vector("text", i), dim=0) for i in rows]
        (gradient,) = torch.autograd.grad(torch.stack(apart).mean(), moving)
        noise = noise + 0.05 * gradient / gradient.norm(dim=1, keepdim=True)
    units = normalize(noise, dim=1)
    expected = []
    for i in rows:
        found = 5 * cells.sim("text", i, "text.view2", i)
        others = [cells.sim("text", i, "text.view2", j) for j in cells.negatives("text.view2", i)]
        logits = [5 * each for each in others if each < 0.3]
        logits += [float(each) for each in 5 * units @ cells.vector("text", i)]
        expected.append(log_sum([found, *logits]) - found)
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_dclrs_noise_is_new_after_each_update_and_the_same_within_one() -> None:
    emb = made_up("text", "text.view2", seed=6)
    objective = DCLR(DCLR.Config(noise=4))
    first = float(objective(emb).loss.detach())
    assert float(objective(emb).loss.detach()) == first
    objective.after_step(emb)
    assert float(objective(emb).loss.detach()) != first
    other = DCLR(DCLR.Config(noise=4))
    other.load_state_dict(objective.state_dict())
    assert math.isclose(float(other(emb).loss.detach()), float(objective(emb).loss.detach()), rel_tol=0, abs_tol=0)
