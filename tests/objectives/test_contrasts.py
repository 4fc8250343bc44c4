"""Variants of in-batch contrast against their papers' formulas in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmcontrast.objectives import OBJECTIVES
from mmcontrast.types import Embeddings
from tests.objectives.made_up import GROUP, Cells, both_ways, log_sum, made_up, mean

PAIR = ("image", "text")
Row = Callable[[Cells, float, list[float], float], float]  # cells, positive logit, negative logits, scale


def loss_of(name: str, emb: Embeddings, **fields: Any) -> float:
    return float(OBJECTIVES.get(name)(OBJECTIVES.get(name).Config(**fields))(emb).loss.detach())


def by_loops(cells: Cells, scale: float, row: Row, *, within: bool = False) -> float:
    """Mean over rows of the mean over directions of ``row``."""
    values = []
    for i in cells.both(*PAIR):
        ways = []
        for a, b in both_ways(PAIR):
            positive = scale * cells.sim(a, i, b, i)
            negatives = [scale * cells.sim(a, i, b, j) for j in cells.negatives(b, i)]
            if within:
                negatives += [scale * cells.sim(a, i, a, j) for j in cells.negatives(a, i)]
            ways.append(row(cells, positive, negatives, scale))
        values.append(mean(ways))
    return mean(values)


def decoupled(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
    return -positive + log_sum(negatives)


def debiased(prior: float, beta: float) -> Row:
    def row(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
        count = len(negatives)
        importance = [math.exp(beta * each) for each in negatives]
        weights = [each / mean(importance) for each in importance]
        weighted = sum(weight * math.exp(each) for weight, each in zip(weights, negatives, strict=True))
        mass = max((weighted - count * prior * math.exp(positive)) / (1 - prior), count * math.exp(-scale))
        return -math.log(math.exp(positive) / (math.exp(positive) + mass))

    return row


def diht(alpha: float, beta: float) -> Row:
    def row(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
        total = sum(math.exp(beta * each) for each in negatives)
        mass = sum(len(negatives) * math.exp(beta * each) / total * math.exp(each) for each in negatives)
        return -math.log(math.exp(positive) / (alpha * math.exp(positive) + mass))

    return row


def focal(gamma: float) -> Row:
    def row(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
        p = math.exp(positive) / sum(math.exp(each) for each in [positive, *negatives])
        return -((1 - p) ** gamma) * math.log(p)

    return row


def model_aware(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
    p = math.exp(positive) / sum(math.exp(each) for each in [positive, *negatives])
    return -math.log(p) / (1 - p)


def hinge_sum(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
    return sum(max(0.0, 0.3 - positive + each) for each in negatives)


def hinge_hardest(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
    return max(max(0.0, 0.3 - positive + each) for each in negatives)


def energy(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
    push = mean(max(0.0, 1.2 - math.sqrt(2 - 2 * each)) ** 2 for each in negatives)
    return ((2 - 2 * positive) + push) / 2


def cross_entropy(cells: Cells, positive: float, negatives: list[float], scale: float) -> float:
    return log_sum([positive, *negatives]) - positive


CASES: dict[str, tuple[str, dict[str, Any], Row, float, bool]] = {
    "decoupled": ("decoupled", {"temperature": 0.2}, decoupled, 5.0, False),
    "decoupled, both views": ("decoupled", {"temperature": 0.2, "within": True}, decoupled, 5.0, True),
    "debiased": ("debiased", {"temperature": 0.5, "prior": 0.1}, debiased(0.1, 0.0), 2.0, False),
    "debiased, at the floor": ("debiased", {"temperature": 0.5, "prior": 0.8}, debiased(0.8, 0.0), 2.0, False),
    "hard": ("debiased", {"hardness": 0.7, "prior": 0.05, "within": True}, debiased(0.05, 0.7), 2.0, True),
    "diht": ("diht", {"temperature": 0.2, "alpha": 0.7, "beta": 0.5}, diht(0.7, 0.5), 5.0, False),
    "focal": ("focal", {"temperature": 0.2, "gamma": 2.0}, focal(2.0), 5.0, False),
    "macl": ("macl", {"temperature": 0.2, "alpha": 0.0}, model_aware, 5.0, False),
    "hinge, sum": ("margin", {"margin": 0.3, "negatives": "sum"}, hinge_sum, 1.0, False),
    "hinge, hardest": ("margin", {"margin": 0.3, "negatives": "hardest"}, hinge_hardest, 1.0, False),
    "energy": ("energy_hinge", {"margin": 1.2}, energy, 1.0, False),
    "simclr": ("simclr", {"temperature": 0.2}, cross_entropy, 5.0, True),
}


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("case", CASES)
def test_loss_is_the_formula(case: str, absent: float, grouped: bool) -> None:
    name, fields, row, scale, within = CASES[case]
    emb = made_up(*PAIR, seed=5, absent=absent, group=GROUP)
    group = "group" if grouped else None
    expected = by_loops(Cells(emb, group), scale, row, within=within)
    assert expected != 0.0
    found = loss_of(name, emb, pair=PAIR, group=group, **fields)
    assert found == pytest.approx(expected, rel=2e-5, abs=1e-6)  # float32 against float64


@pytest.mark.parametrize("absent", [0.0, 0.4])
def test_dclw_weighs_positives_by_how_far_they_are_below_the_mean(absent: float) -> None:
    emb = made_up(*PAIR, seed=6, absent=absent)
    cells = Cells(emb)
    strength = {i: math.exp(cells.sim("image", i, "text", i) / 0.5) for i in cells.both(*PAIR)}
    expected = mean(
        mean(
            -(2 - strength[i] / mean(strength.values())) * 5 * cells.sim(a, i, b, i)
            + log_sum(5 * cells.sim(a, i, b, j) for j in cells.negatives(b, i))
            for a, b in both_ways(PAIR)
        )
        for i in strength
    )
    assert loss_of("decoupled", emb, temperature=0.2, positives="mises_fisher") == pytest.approx(expected, rel=2e-5)


def test_macls_temperature_follows_the_mean_positive_similarity() -> None:
    emb = made_up(*PAIR, seed=7, absent=0.3)
    cells = Cells(emb)
    alignment = mean(cells.sim("image", i, "text", i) for i in cells.both(*PAIR))
    scale = 1 / (0.2 * (1 + 0.8 * (alignment - 0.1)))
    expected = by_loops(cells, scale, model_aware)
    assert loss_of("macl", emb, temperature=0.2, alpha=0.8, threshold=0.1) == pytest.approx(expected, rel=2e-5)


def gradient(name: str, emb: Embeddings, **fields: Any) -> torch.Tensor:
    loss = OBJECTIVES.get(name)(OBJECTIVES.get(name).Config(**fields))(emb).loss
    return torch.autograd.grad(loss, emb["image"].z)[0]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("diht", {"alpha": 1.0, "beta": 0.0}),
        ("focal", {"gamma": 0.0}),
        ("debiased", {"prior": 0.0, "temperature": 0.07, "learn_temperature": True}),
        ("ranking_contrast", {"weights": "relative"}),
        ("simcse", {"query": "image", "positive": "text", "temperature": 0.07}),
    ],
)
def test_at_its_neutral_setting_it_has_the_gradient_of_infonce(name: str, fields: dict[str, Any]) -> None:
    emb = made_up(*PAIR, seed=8, absent=0.2, relevance=torch.full((9,), 0.5))
    expected = gradient("infonce", emb)
    if name == "simcse":  # one direction: the other one is its mirror
        mirrored = {**fields, "query": "text", "positive": "image"}
        found = (gradient(name, emb, **fields) + gradient(name, emb, **mirrored)) / 2
    else:
        found = gradient(name, emb, **fields)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_macls_factors_carry_no_gradient() -> None:
    emb = made_up(*PAIR, seed=9)
    z = emb["image"].z
    found = gradient("macl", emb, temperature=0.2, alpha=0.5)
    image, text = z.detach().double().requires_grad_(), emb["text"].z.detach().double()
    temperature = 0.2 * (1 + 0.5 * (image * text).sum(dim=1).mean().item())
    loss = torch.zeros((), dtype=torch.float64)
    for logits in (image @ text.T / temperature, text @ image.T / temperature):
        p = logits.softmax(dim=1).diagonal()
        loss = loss + (-p.log() / (1 - p.detach())).mean() / 2
    (expected,) = torch.autograd.grad(loss, image)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
