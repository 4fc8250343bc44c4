"""Sparse codes against plain loops, and against sentence-transformers' autoencoder and its loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcontrast.errors import ConfigError
from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.sparse_codes import SparseCodes
from mmcontrast.types import Embeddings
from tests.objectives.made_up import GROUP, Cells, made_up, mean

SPACES = Spaces(dim=8, widths={})
LATENTS, ACTIVE, SPARE = 12, 2, 3
DEAD = torch.tensor([True, False, False, True, True, False, True, True, False, False, False, True])


def built(**fields: Any) -> SparseCodes:
    """An objective with made-up weights, some of whose latents are dead."""
    torch.manual_seed(0)
    config = SparseCodes.Config(latents=LATENTS, active=ACTIVE, auxiliary=SPARE, dead_after=5, **fields)
    objective = SparseCodes(config)
    objective.attach(SPACES)
    objective.unused.copy_(10 * DEAD)
    with torch.no_grad():
        objective.autoencoder.center.normal_(std=0.2)
        objective.autoencoder.encoder.bias.normal_(std=0.1)
    return objective


class Plain:
    """One row at a time, in double precision."""

    def __init__(self, objective: SparseCodes) -> None:
        inner = objective.autoencoder
        self.weight, self.bias = inner.encoder.weight.detach().double(), inner.encoder.bias.detach().double()
        self.center = inner.center.detach().double()

    def kept(self, z: Tensor, count: int, of: list[int]) -> list[float]:
        raw = [float(self.weight[k] @ (z - self.center) + self.bias[k]) for k in range(LATENTS)]
        best = sorted(of, key=lambda k: -raw[k])[:count]
        return [max(raw[k], 0.0) if k in best else 0.0 for k in range(LATENTS)]

    def decoded(self, code: list[float]) -> Tensor:
        return self.center + sum((each * self.weight[k] for k, each in enumerate(code)), torch.zeros(8))


def expected_errors(objective: SparseCodes, emb: Embeddings, column: str) -> float:
    plain, cells = Plain(objective), Cells(emb)
    everyone, dead = list(range(LATENTS)), [k for k in range(LATENTS) if DEAD[k]]
    rows = [cells.vector(column, i) for i in cells.rows if cells.here(column, i)]
    error, looser, spare, rests = [], [], [], []
    for z in rows:
        rebuilt = plain.decoded(plain.kept(z, ACTIVE, everyone))
        rests.append(z - rebuilt + plain.center)
        error.append(float((z - rebuilt).square().mean()))
        looser.append(float((z - plain.decoded(plain.kept(z, 4 * ACTIVE, everyone))).square().mean()))
        spare.append(float((plain.decoded(plain.kept(z, SPARE, dead)) - rests[-1]).square().mean()))
    centre = sum(rests) / len(rests)
    variance = mean(float((rest - centre).square().mean()) for rest in rests)
    return mean(error) + mean(looser) / 8 + mean(spare) / variance / 32


def cosine(a: list[float], b: list[float]) -> float:
    length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


@pytest.mark.parametrize("absent", [0.0, 0.3])
@pytest.mark.parametrize("columns", [("image",), ("image", "text")])
def test_it_is_its_formula(columns: tuple[str, ...], absent: float) -> None:
    emb = made_up(*columns, seed=1, absent=absent, group=GROUP)
    objective = built(columns=columns, group="group")
    plain, cells = Plain(objective), Cells(emb, "group")
    codes = {
        (name, i): plain.kept(cells.vector(name, i), ACTIVE, list(range(LATENTS)))
        for name in columns
        for i in cells.rows
    }
    contrasts = []
    for a in columns:
        b = columns[1 - columns.index(a)] if len(columns) == 2 else a
        rows = []
        for i in cells.both(a, b):
            logits = {j: cosine(codes[a, i], codes[b, j]) / 0.2 for j in [i, *cells.negatives(b, i)]}
            rows.append(math.log(sum(math.exp(each) for each in logits.values())) - logits[i])
        contrasts.append(mean(rows))
    expected = mean(expected_errors(objective, emb, name) for name in columns) + 0.1 * mean(contrasts)
    assert float(objective(emb).loss.detach()) == pytest.approx(expected, rel=2e-5)


def test_it_is_sentence_transformers_reconstruction() -> None:
    modules = pytest.importorskip("sentence_transformers.sparse_encoder.modules")
    losses = pytest.importorskip("sentence_transformers.sparse_encoder.losses")
    theirs = modules.SparseAutoEncoder(input_dim=8, hidden_dim=LATENTS, k=ACTIVE, k_aux=SPARE, dead_threshold=5)
    objective = built(columns=("image",), contrast_weight=0.0)
    inner = objective.autoencoder
    theirs.load_state_dict(
        {
            "pre_bias": inner.center,
            "encoder.weight": inner.encoder.weight,
            "latent_bias": inner.encoder.bias,
            "decoder.linear.weight": inner.encoder.weight,
            "stats_last_nonzero": objective.unused,
        }
    )
    emb = made_up("image", seed=2)
    theirs.train(False)  # in training it forgets dead latents before they are used
    outputs = theirs({"sentence_embedding": emb["image"].z.detach()})
    parts = losses.CSRReconstructionLoss(None, beta=1 / 32).compute_loss_from_embeddings([outputs])
    expected = float(sum(part.detach() for part in parts.values()))
    assert float(objective(emb).loss.detach()) == pytest.approx(expected, rel=1e-6)


def test_codes_have_k_numbers_and_embeddings_no_gradient() -> None:
    emb = made_up("image", "text", seed=3)
    objective = built()
    codes = objective.codes(emb["image"].z)
    assert codes.shape == (9, LATENTS) and int((codes != 0).sum(dim=1).max()) == ACTIVE
    objective(emb).loss.backward()
    for name in ("image", "text"):
        assert torch.equal(emb[name].z.grad, torch.zeros(9, 8))
    assert float(objective.autoencoder.encoder.weight.grad.abs().max()) > 0


def test_latents_die_when_no_code_uses_them_and_come_back() -> None:
    emb = made_up("image", "text", seed=4, absent=0.3)
    objective = built()
    used = torch.zeros(LATENTS, dtype=torch.bool)
    for name in ("image", "text"):
        used |= (objective.codes(emb[name].z)[emb[name].present] > 1e-5).any(dim=0)
    assert 0 < int(used.sum()) < LATENTS
    before = objective.unused.clone()
    objective.after_step(emb)
    assert torch.equal(objective.unused, torch.where(used, 0, before + 1))


def test_more_active_numbers_than_latents_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than the 4 latents"):
        SparseCodes(SparseCodes.Config(latents=4, active=5)).attach(SPACES)
