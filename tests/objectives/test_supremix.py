"""SupReMix against its formula in plain loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mmcontrast.objectives.supcon import SupCon
from mmcontrast.objectives.supremix import SupReMix
from mmcontrast.types import Embeddings
from tests.objectives.made_up import Cells, made_up, mean

TARGET = torch.tensor([1.0, 3.0, 2.0, 1.0, 5.0, 2.5, torch.nan, 5.0, 0.5])
SCALE = 5.0
COLUMNS = ("image", "text")


def plain(emb: Embeddings, objective: SupReMix) -> float:
    config, share, cells = objective.config, objective.share(), Cells(emb)
    everyone = [(a, i) for a in COLUMNS for i in cells.rows if cells.here(a, i) and not math.isnan(float(TARGET[i]))]
    labels = sorted({float(TARGET[i]) for _, i in everyone})
    vectors = {cell: cells.vector(*cell) for cell in everyone}
    centre = {t: sum(vectors[cell] for cell in everyone if TARGET[cell[1]] == t) for t in labels}
    centre = {t: sums / sum(TARGET[i] == t for _, i in everyone) for t, sums in centre.items()}

    def weight(distance: float) -> float:
        return 1 + distance if config.magnify else 1.0

    losses = []
    for cell in everyone:
        x, t = vectors[cell], float(TARGET[cell[1]])
        total, positives = 0.0, []
        for other in everyone:
            if other == cell:
                continue
            y, distance = vectors[other], abs(t - float(TARGET[other[1]]))
            total += weight(distance) * math.exp(SCALE * float(x @ y))
            if distance == 0:
                positives.append(SCALE * float(x @ y))
            elif config.mix_negatives:
                mixture = share * x + (1 - share) * y
                total += weight((1 - share) * distance) * math.exp(SCALE * float(x @ mixture))
        place = labels.index(t)
        for step in range(1, config.mix_positives + 1):
            if place - step < 0 or place + step >= len(labels):
                continue
            low, high = labels[place - step], labels[place + step]
            if config.window is not None and not (t - low < config.window and high - t < config.window):
                continue
            part = (high - t) / (high - low)
            logit = SCALE * float(x @ (part * centre[low] + (1 - part) * centre[high]))
            total += math.exp(logit)
            positives.append(logit)
        if positives:
            losses.append(math.log(total) - mean(positives))
    return mean(losses)


@pytest.mark.parametrize("absent", [0.0, 0.3])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"magnify": False},
        {"mix_negatives": False},
        {"mix_positives": 0},
        {"mix_positives": 2, "window": 1.6},
    ],
    ids=str,
)
def test_it_is_its_formula(fields: dict[str, Any], absent: float) -> None:
    emb = made_up(*COLUMNS, seed=1, absent=absent, relevance=TARGET)
    objective = SupReMix(SupReMix.Config(columns=COLUMNS, temperature=1 / SCALE, **fields))
    assert float(objective(emb).loss.detach()) == pytest.approx(plain(emb, objective), rel=2e-5)


def test_without_mixtures_and_distances_it_is_supcon() -> None:
    target = torch.tensor([0, 1, 0, 2, 3, 3, 2, 3, 1])
    emb = made_up(*COLUMNS, seed=2, relevance=target.float(), group=target)
    fields: dict[str, Any] = {"mix_negatives": False, "mix_positives": 0, "magnify": False, "temperature": 0.2}
    ours = SupReMix(SupReMix.Config(columns=COLUMNS, **fields))(emb).loss
    theirs = SupCon(SupCon.Config(columns=COLUMNS, keys="all", temperature=0.2))(emb).loss
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_mixtures_carry_no_gradient() -> None:
    # With one cell of each label there is no positive but the mixture, whose own cells then get none of its gradient.
    target = torch.tensor([0.0, 1.0, 2.0])
    emb = made_up("image", seed=3, rows=3, relevance=target)
    objective = SupReMix(SupReMix.Config(mix_negatives=False, mix_positives=1, temperature=0.5))
    z = emb["image"].z
    objective(emb).loss.backward()
    x, low, high = z[1].detach(), z[0].detach(), z[2].detach()
    logits = [2 * float(x @ each) for each in (low, high, (low + high) / 2)]
    weights = [2.0, 2.0, 1.0]
    total = sum(w * math.exp(each) for w, each in zip(weights, logits, strict=True))
    expected = 2 * weights[0] * math.exp(logits[0]) / total * x
    torch.testing.assert_close(z.grad[0], expected, atol=1e-6, rtol=1e-5)


def test_the_share_is_drawn_anew_for_each_update() -> None:
    objective = SupReMix(SupReMix.Config())
    first = objective.share()
    assert 0 < first < 1 and objective.share() == first
    objective.after_step(made_up("image"))
    assert objective.share() != first
