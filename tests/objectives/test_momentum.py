"""Queues, momentum keys, predictors and prototypes against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.copies import MomentumCopy
from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.byol import BYOL
from mmcontrast.objectives.cross_batch_memory import CrossBatchMemory
from mmcontrast.objectives.dino import DINO
from mmcontrast.objectives.esimcse import ESimCSE
from mmcontrast.objectives.key_queue import KeyQueue
from mmcontrast.objectives.momentum_contrast import MomentumContrast
from mmcontrast.objectives.prototypes import sinkhorn
from mmcontrast.objectives.simcse import SimCSE
from mmcontrast.objectives.simsiam import SimSiam
from mmcontrast.objectives.soft_targets import SoftTargets
from mmcontrast.objectives.swav import SwAV
from mmcontrast.types import Embedded, Embeddings
from tests import tiny
from tests.objectives.made_up import GROUP, Cells, both_ways, log_sum, made_up, mean

PAIR = ("image", "text")
VIEWS = ("image", "image.view2")
SPACES = Spaces(dim=8, widths={}, teacher_dim=8)


def attached(objective: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    objective.attach(SPACES)
    return objective


def averaged(emb: Embeddings, *, seed: int) -> Embeddings:
    """The same cells as another encoder would see them, as the momentum copy's and as the teacher's."""
    other = made_up(*emb.columns, seed=seed)
    columns = {
        name: Embedded((other.columns[name].z * column.present[:, None]).detach(), column.present)
        for name, column in emb.columns.items()
    }
    return replace(emb, averaged=columns, taught=columns)


def seen_by_copy(emb: Embeddings) -> Cells:
    return Cells(replace(emb, columns=emb.averaged))


def test_a_queue_keeps_the_newest_present_keys() -> None:
    queue = KeyQueue(size=4, dim=1)
    rows = torch.arange(1.0, 7.0)[:, None]
    queue.push(Embedded(rows[:3], torch.tensor([True, False, True])), torch.tensor([5, 6, -1]))
    assert queue.z[queue.filled].flatten().tolist() == [1.0, 3.0]
    assert queue.allowed(torch.tensor([5, -1])).tolist() == [[False, True, False, False], [True, True, False, False]]
    queue.push(Embedded(rows[3:], torch.ones(3, dtype=torch.bool)))
    assert sorted(queue.z.flatten().tolist()) == [3.0, 4.0, 5.0, 6.0]
    queue.push(Embedded(rows, torch.ones(6, dtype=torch.bool)))
    assert sorted(queue.z.flatten().tolist()) == [3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize("start_step", [0, 5])
def test_cross_batch_memory_adds_past_keys_once_it_has_started(start_step: int) -> None:
    past, emb = made_up(*PAIR, seed=1, absent=0.3, group=GROUP), made_up(*PAIR, seed=2, absent=0.3, group=GROUP)
    config = CrossBatchMemory.Config(queue=32, start_step=start_step, temperature=0.2, group="group")
    objective = attached(CrossBatchMemory(config))
    objective.after_step(past)
    cells, memory = Cells(emb, "group"), Cells(past)
    expected = []
    for i in cells.both(*PAIR):
        for a, b in both_ways(PAIR):
            logits = [5 * cells.sim(a, i, b, j) for j in [i, *cells.negatives(b, i)]]
            for j in memory.rows:
                alike = int(GROUP[i]) >= 0 and int(GROUP[i]) == int(GROUP[j])
                if start_step == 0 and memory.here(b, j) and not alike:
                    logits.append(5 * float(cells.vector(a, i) @ memory.vector(b, j)))
            expected.append(log_sum(logits) - 5 * cells.sim(a, i, b, i))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


@pytest.mark.parametrize(("hardest", "in_batch"), [(None, True), (None, False), (3, True)])
def test_momentum_contrast_finds_the_copys_key_among_the_queue(hardest: int | None, in_batch: bool) -> None:
    past = averaged(made_up(*PAIR, seed=3), seed=4)
    emb = averaged(made_up(*PAIR, seed=5, absent=0.2), seed=6)
    config = MomentumContrast.Config(queue=16, hardest=hardest, in_batch=in_batch, temperature=0.2)
    objective = attached(MomentumContrast(config))
    objective.after_step(past)
    cells, keys, queue = Cells(emb), seen_by_copy(emb), seen_by_copy(past)
    expected = []
    for i in cells.both(*PAIR):
        for a, b in both_ways(PAIR):
            found = 5 * float(cells.vector(a, i) @ keys.vector(b, i))
            others = [5 * float(cells.vector(a, i) @ queue.vector(b, j)) for j in queue.rows]
            if in_batch:
                others += [5 * float(cells.vector(a, i) @ keys.vector(b, j)) for j in keys.negatives(b, i)]
            others = sorted(others, reverse=True)[:hardest]
            expected.append(log_sum([found, *others]) - found)
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_esimcse_finds_the_repeated_sentence_among_the_batch_and_past_ones() -> None:
    emb = averaged(made_up("text", "text.repeated", seed=21, absent=0.2, group=GROUP), seed=22)
    past = averaged(made_up("text", "text.repeated", seed=23, absent=0.3), seed=24)
    objective = attached(ESimCSE(ESimCSE.Config(queue=16, temperature=0.2, group="group")))
    simcse = SimCSE(SimCSE.Config(positive="text.repeated", temperature=0.2, group="group"))
    torch.testing.assert_close(objective(emb).loss, simcse(emb).loss)  # nothing is in the queue yet
    labelled = replace(past, labels={"group": torch.full_like(GROUP, 1)})
    objective.after_step(labelled)
    cells, queue = Cells(emb, "group"), seen_by_copy(past)
    losses = []
    for i in cells.both("text", "text.repeated"):
        logits = [5 * cells.sim("text", i, "text.repeated", j) for j in [i, *cells.negatives("text.repeated", i)]]
        here = [j for j in queue.rows if queue.here("text.repeated", j) and int(GROUP[i]) != 1]
        logits += [5 * float(cells.vector("text", i) @ queue.vector("text.repeated", j)) for j in here]
        losses.append(log_sum(logits) - logits[0])
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=2e-5)


def test_a_queue_counts_in_the_size_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    emb = averaged(made_up(*PAIR, seed=5, absent=0.2), seed=6)
    objective = attached(MomentumContrast(MomentumContrast.Config(queue=16)))
    objective.after_step(averaged(made_up(*PAIR, seed=7), seed=8))
    whole = objective(emb).loss
    rows, inner = [], objective._row

    def watched(logits: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        rows.append(len(logits))
        return inner(logits, *others)

    monkeypatch.setattr(objective, "_row", watched)
    monkeypatch.setattr("mmcontrast.objectives.pairwise.TILE_CELLS", 2 * (9 + 16))
    torch.testing.assert_close(objective(emb).loss, whole, atol=1e-6, rtol=1e-6)
    assert max(rows) == 2


def test_a_queue_smaller_than_the_batch_is_a_problem() -> None:
    for cls in (MomentumContrast, CrossBatchMemory):
        objective = cls(cls.Config(queue=16))
        assert objective.problems(16) == []
        (problem,) = objective.problems(17)
        assert "holds less than one batch of 17 rows" in problem


@pytest.mark.parametrize("momentum", [True, False])
def test_byol_and_simsiam_predict_the_other_view(momentum: bool) -> None:
    emb = averaged(made_up(*VIEWS, seed=7, absent=0.2), seed=8)
    objective = attached(BYOL(BYOL.Config(hidden=5)) if momentum else SimSiam(SimSiam.Config(hidden=5)))
    cells = Cells(emb)
    targets = seen_by_copy(emb) if momentum else cells
    expected = []
    for i in cells.both(*VIEWS):
        total = 0.0
        for a, b in both_ways(VIEWS):
            predicted = objective.predictor(cells.vector(a, i).float()[None])[0].detach().double()
            cosine = float(normalize(predicted, dim=0) @ targets.vector(b, i))
            total += 2 - 2 * cosine if momentum else -cosine / 2
        expected.append(total)
    loss = objective(emb).loss
    assert float(loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_simsiam_stops_the_gradient_of_its_targets() -> None:
    emb = made_up(*VIEWS, seed=9)
    objective = attached(SimSiam(SimSiam.Config(hidden=5)))
    (found,) = torch.autograd.grad(objective(emb).loss, emb["image"].z)
    z = emb["image"].z.detach().requires_grad_()
    predicted = normalize(objective.predictor(z), dim=1)
    (expected,) = torch.autograd.grad(-(predicted * emb["image.view2"].z.detach()).sum(dim=1).mean() / 2, z)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_sinkhorn_gives_prototypes_equal_mass() -> None:
    scores = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    assigned = sinkhorn(scores, epsilon=0.5, iterations=50)
    torch.testing.assert_close(assigned.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(assigned.sum(dim=0), torch.full((4,), 3.0), atol=1e-4, rtol=0)


def test_swav_swaps_assignments_between_views_and_crops() -> None:
    emb = made_up("image", "image.view2", "image.crop", seed=10, absent=0.2)
    config = SwAV.Config(crops=("image.crop",), prototypes=4, epsilon=0.5, temperature=0.3)
    objective = attached(SwAV(config))
    prototypes = normalize(objective.prototypes.weight.detach().double(), dim=1)
    cells = Cells(emb)
    losses = []
    for view in VIEWS:
        present = [i for i in cells.rows if cells.here(view, i)]
        mass = torch.stack([(prototypes @ cells.vector(view, i) / 0.5).exp() for i in present])
        for _ in range(3):
            mass = mass / mass.sum(dim=0) / 4
            mass = mass / mass.sum(dim=1, keepdim=True) / len(present)
        assigned = {i: row / row.sum() for i, row in zip(present, mass, strict=True)}
        for other in ("image", "image.view2", "image.crop"):
            if other != view:
                rows = cells.both(view, other)
                log_p = {i: (prototypes @ cells.vector(other, i) / 0.3).log_softmax(dim=0) for i in rows}
                losses.append(mean(float(-(assigned[i] * log_p[i]).sum()) for i in rows))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=2e-5)


def test_swav_is_lightlys() -> None:
    loss_module = pytest.importorskip("lightly.loss")
    emb = made_up("image", "image.view2", seed=11, rows=16)
    objective = attached(SwAV(SwAV.Config(prototypes=4)))
    scores = [objective.prototypes(emb[name].z) for name in VIEWS]
    theirs = loss_module.SwaVLoss()(scores, []).squeeze()
    torch.testing.assert_close(objective(emb).loss, theirs, atol=1e-6, rtol=1e-6)


def test_simsiam_is_lightlys() -> None:
    loss_module = pytest.importorskip("lightly.loss")
    emb = made_up(*VIEWS, seed=14)
    objective, theirs = attached(SimSiam(SimSiam.Config(hidden=5))), loss_module.NegativeCosineSimilarity()
    first, second = (emb[name].z for name in VIEWS)
    expected = (theirs(objective.predictor(first), second) + theirs(objective.predictor(second), first)) / 2
    torch.testing.assert_close(objective(emb).loss, expected, atol=1e-6, rtol=1e-6)


def test_dino_is_lightlys_and_so_is_its_centre() -> None:
    loss_module = pytest.importorskip("lightly.loss")
    emb = averaged(made_up(*VIEWS, seed=15), seed=16)
    objective = attached(DINO(DINO.Config(prototypes=5)))
    theirs = loss_module.DINOLoss(output_dim=5)
    for _ in range(2):  # with the centre at zero, and where the first update has moved it
        taught = [objective.averaged(emb.momentum(name).z) for name in VIEWS]
        learned = [objective.prototypes(emb[name].z) for name in VIEWS]
        torch.testing.assert_close(objective(emb).loss, theirs(taught, learned), atol=1e-6, rtol=1e-6)
        objective.after_step(emb)
        torch.testing.assert_close(objective.center, theirs.center.squeeze(), atol=1e-6, rtol=1e-6)


def test_dino_matches_the_centred_and_sharpened_copy() -> None:
    emb = averaged(made_up(*VIEWS, seed=12, absent=0.2), seed=13)
    objective = attached(DINO(DINO.Config(prototypes=5, temperature=0.3, teacher_temperature=0.1, keep_center=0.8)))
    objective.after_step(emb)
    cells, copy = Cells(emb), seen_by_copy(emb)
    prototypes = normalize(objective.prototypes.weight.detach().double(), dim=1)
    scores = [prototypes @ copy.vector(name, i) for name in VIEWS for i in cells.rows if cells.here(name, i)]
    center = 0.2 * torch.stack(scores).mean(dim=0)  # the averaged prototypes are still the first ones
    torch.testing.assert_close(objective.center.double(), center, atol=1e-6, rtol=1e-5)
    losses = []
    for a, b in both_ways(VIEWS):
        row = []
        for i in cells.both(*VIEWS):
            target = ((prototypes @ copy.vector(a, i) - center) / 0.1).softmax(dim=0)
            row.append(float(-(target * (prototypes @ cells.vector(b, i) / 0.3).log_softmax(dim=0)).sum()))
        losses.append(mean(row))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=2e-5)


@pytest.mark.parametrize("targets", ["momentum", "teacher"])
def test_soft_targets_mix_one_hot_with_the_other_models_softmax(targets: str) -> None:
    emb = averaged(made_up(*PAIR, seed=14, absent=0.3), seed=15)
    cells, copy = Cells(emb), seen_by_copy(emb)
    expected = []
    for i in cells.both(*PAIR):
        for a, b in both_ways(PAIR):
            keys = [i, *cells.negatives(b, i)]
            logits = [5 * cells.sim(a, i, b, j) for j in keys]
            soft = [math.exp(copy.sim(a, i, b, j) / 0.5) for j in keys]
            weights = [0.3 * each / sum(soft) + (0.7 if j == i else 0.0) for j, each in zip(keys, soft, strict=True)]
            expected.append(-sum(w * (each - log_sum(logits)) for w, each in zip(weights, logits, strict=True)))
    config = SoftTargets.Config(targets=targets, alpha=0.3, target_temperature=0.5, temperature=0.2)
    assert float(SoftTargets(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_the_momentum_copy_moves_a_share_of_the_way_and_never_trains() -> None:
    built = tiny.model("byol").train()
    assert isinstance(built.momentum, MomentumCopy) and not built.momentum.training
    name = "image"
    before = [parameter.clone() for parameter in built.momentum.towers[name].parameters()]
    with torch.no_grad():
        for parameter in built.towers.parameters():
            parameter.add_(1.0)
    built("loss", built("embed", tiny.batch()))
    built.after_step()
    for old, new in zip(before, built.momentum.towers[name].parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.5)  # tiny models keep a half
        assert not new.requires_grad


def test_nothing_moves_without_an_update() -> None:
    built = tiny.model("momentum_contrast")
    before = {key: value.clone() for key, value in built.state_dict().items()}
    built.after_step()
    assert all(torch.equal(value, before[key]) for key, value in built.state_dict().items())
