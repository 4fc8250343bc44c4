"""Objectives against the losses of other libraries on the same random embeddings: equal to 1e-6."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcontrast.objectives import OBJECTIVES
from mmcontrast.types import Embeddings
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
