"""Objectives against the losses of other libraries on the same random embeddings: equal to 1e-6."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcontrast.objectives import OBJECTIVES
from mmcontrast.types import Embedded, Embeddings
from tests.objectives.made_up import GROUP, made_up

VIEWS = ("image", "image.view2")


def loss_of(name: str, emb: Embeddings, **fields: Any) -> float:
    return float(OBJECTIVES.get(name)(OBJECTIVES.get(name).Config(**fields))(emb).loss.detach())


def lightly_cases() -> dict[str, Any]:
    loss = pytest.importorskip("lightly.loss")
    return {
        "simclr": (loss.NTXentLoss(temperature=0.2), {"temperature": 0.2}),
        "decoupled": (loss.DCLLoss(temperature=0.2), {"temperature": 0.2, "within": True, "pair": VIEWS}),
        "decoupled:weighted": (
            loss.DCLWLoss(temperature=0.2),
            {"temperature": 0.2, "within": True, "pair": VIEWS, "positives": "mises_fisher"},
        ),
        "macl": (
            loss.MACLLoss(temperature=0.2, alpha=0.5, A_0=0.1),
            {"temperature": 0.2, "alpha": 0.5, "threshold": 0.1, "within": True, "pair": VIEWS},
        ),
        "barlow_twins": (loss.BarlowTwinsLoss(lambda_param=0.01), {"redundancy": 0.01}),
        "vicreg": (loss.VICRegLoss(), {"scale": 1.0}),
    }


@pytest.mark.parametrize("name", ["simclr", "decoupled", "decoupled:weighted", "macl", "barlow_twins", "vicreg"])
def test_it_is_lightlys_loss(name: str) -> None:
    theirs, fields = lightly_cases()[name]
    emb = made_up(*VIEWS, seed=1, rows=16)
    expected = float(theirs(emb["image"].z, emb["image.view2"].z))
    assert loss_of(name.partition(":")[0], emb, **fields) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_supcon_within_one_modality_is_pytorch_metric_learnings() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    group = torch.where(GROUP < 0, 10 + torch.arange(9), GROUP)
    emb = made_up(*VIEWS, seed=2, group=group)
    z = torch.cat([emb[name].z for name in VIEWS])
    expected = float(losses.SupConLoss(temperature=0.2)(z, group.repeat(2)))
    found = loss_of("supcon", emb, columns=VIEWS, keys="all", temperature=0.2)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_simclr_is_pytorch_metric_learnings_ntxent() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    emb = made_up(*VIEWS, seed=3)
    z = torch.cat([emb[name].z for name in VIEWS])
    expected = float(losses.NTXentLoss(temperature=0.2)(z, torch.arange(9).repeat(2)).detach())
    assert loss_of("simclr", emb, temperature=0.2) == pytest.approx(expected, rel=1e-6, abs=1e-6)


# Objective -> its fields, and its columns as sentence-transformers orders them: query, positive, negatives.
RANKINGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "simcse": ({}, ("text", "text.view2")),
    "simcse:negative": ({"negative": "text.swapped"}, ("text", "text.view2", "text.swapped")),
    "mined_negatives": ({"negatives": ("a", "b"), "learn_temperature": False}, ("text", "image", "a", "b")),
}


@pytest.mark.parametrize("name", RANKINGS)
def test_it_is_sentence_transformers_ranking_loss(name: str) -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    fields, columns = RANKINGS[name]
    emb = made_up(*columns, seed=4)
    theirs = losses.MultipleNegativesRankingLoss(None, scale=20.0)
    expected = theirs.compute_loss_from_embeddings([emb[column].z for column in columns], torch.zeros(9))
    found = loss_of(name.partition(":")[0], emb, temperature=0.05, **fields)
    assert found == pytest.approx(float(expected.detach()), rel=1e-6, abs=1e-6)


def test_distillation_of_similarities_is_open_clips() -> None:
    loss_module = pytest.importorskip("open_clip.loss")
    emb, teacher = made_up("image", "text", seed=5), made_up("image", "text", seed=6)
    emb.taught.update({name: Embedded(column.z.detach(), column.present) for name, column in teacher.columns.items()})
    pairs = [each[name].z for each in (emb, teacher) for name in ("image", "text")]
    theirs = loss_module.DistillClipLoss()(*pairs[:2], 5.0, *pairs[2:], 10.0, output_dict=True)
    fields = {"targets": "teacher", "alpha": 1.0, "temperature": 0.2, "target_temperature": 0.1}
    expected = float(theirs["distill_loss"].detach())
    assert loss_of("soft_targets", emb, **fields) == pytest.approx(expected, rel=1e-6, abs=1e-6)
