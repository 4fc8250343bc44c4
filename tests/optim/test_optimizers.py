"""Each optimizer against its formula or its peer, and laws that all of them keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.groups import Place
from tests.dist.pool import on_ranks
from tests.engines.test_replicated import build, updates

NAMES = OPTIMIZERS.names()


class Toy(nn.Module):
    """A matrix and a bias in a block, and a matrix after it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block, self.head = nn.Linear(6, 9), nn.Linear(9, 4, bias=False)

    def places(self) -> dict[str, Place]:
        return {name: Place("text", 1 if name.startswith("block") else 2, 2) for name, _ in self.named_parameters()}


def trained(optimizer: Any, model: Toy, *, updates: int = 5) -> dict[str, Tensor]:
    """Weights after a few updates of a regression."""
    for seed in range(updates):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(seed))
        loss = (model.head(model.block(x).tanh()) - x[:, :4]).square().sum()  # a norm far above 1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def ours(name: str, **fields: Any) -> dict[str, Tensor]:
    model = Toy()
    return trained(OPTIMIZERS.build(OPTIMIZERS.get(name).Config(**fields)).build(model), model)


class PlainLamb:
    """LAMB's algorithm 2, one weight after another."""

    def __init__(self, model: nn.Module, *, lr: float, decay: float, betas: tuple[float, float], eps: float) -> None:
        self.weights, self.lr, self.decay, self.betas, self.eps = list(model.parameters()), lr, decay, betas, eps
        self.moments = [(torch.zeros_like(each), torch.zeros_like(each)) for each in self.weights]
        self.count = 0

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        first_beta, second_beta = self.betas
        for weight, (first, second) in zip(self.weights, self.moments, strict=True):
            assert weight.grad is not None
            first.copy_(first_beta * first + (1 - first_beta) * weight.grad)
            second.copy_(second_beta * second + (1 - second_beta) * weight.grad**2)
            direction = first / (1 - first_beta**self.count)
            direction = direction / ((second / (1 - second_beta**self.count)).sqrt() + self.eps)
            if weight.ndim >= 2:  # what does not decay is not rescaled
                direction = direction + self.decay * weight
                direction = direction * weight.norm() / direction.norm()
            weight -= self.lr * direction


def test_lamb_is_its_formula_and_clips_nothing_itself() -> None:
    fields: dict[str, Any] = {"lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-6}
    model = Toy()
    expected = trained(PlainLamb(model, decay=0.1, **fields), model)
    for name, value in ours("lamb", weight_decay=0.1, **fields).items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5, msg=name)


def test_muon_is_torchs_in_blocks_and_adamw_elsewhere() -> None:
    model = Toy()
    fields: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1}
    matrix = torch.optim.Muon([model.block.weight], momentum=0.95, adjust_lr_fn="match_rms_adamw", **fields)
    adam: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-6}
    head = torch.optim.AdamW([model.head.weight], **fields, **adam)
    bias = torch.optim.AdamW([model.block.bias], lr=0.02, weight_decay=0.0, **adam)

    class Both:
        def zero_grad(self) -> None:
            model.zero_grad()

        def step(self) -> None:
            for each in (matrix, head, bias):
                each.step()

    expected = trained(Both(), model)
    found = ours("muon", **fields)
    for name, value in expected.items():
        # Five products of matrices in bfloat16 (8 bits), in another order than torch's: a hundredth of a step.
        torch.testing.assert_close(found[name], value, atol=2e-4, rtol=1e-3, msg=name)


def test_a_step_of_muon_has_the_size_of_adamws() -> None:
    model = Toy()
    before = model.block.weight.detach().clone()
    after = trained(OPTIMIZERS.build(OPTIMIZERS.get("muon").Config(lr=0.1, weight_decay=0.0)).build(model), model,
                    updates=1)  # fmt: skip
    step = (after["block.weight"] - before).square().mean().sqrt()
    # 0.2 lr sqrt(max(rows, columns)) sqrt(min(rows, columns) / (rows columns)) of an orthogonal matrix, whose singular
    # values the iteration brings to 0.7 to 1.2.
    assert 0.7 * 0.02 < float(step) < 1.2 * 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    config = OPTIMIZERS.get(name).Config(lr=1e-2, layer_decay=0.5)
    whole = build("local", config)
    updates(whole, "plain", range(4))
    first = build("local", config)
    updates(first, "plain", range(2))
    first.save(tmp_path)
    second = build("local", config)
    second.load_model_state(first.model_state())
    second.load(tmp_path)
    updates(second, "plain", range(2, 4))
    for expected, found in (
        (whole.model_state(), second.model_state()),
        (whole.training_state(), second.training_state()),
    ):
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def losses(folder: str) -> dict[str, list[float]]:
    """Losses of each optimizer, from the state that one process left."""
    found = {}
    for name in NAMES:
        engine = build("ddp", OPTIMIZERS.get(name).Config(lr=1e-2))
        engine.load_model_state(torch.load(f"{folder}/{name}/model.pt", weights_only=True))
        engine.load(Path(folder) / name)
        found[name] = updates(engine, "gradcache", range(2, 6))
    return found


def test_two_ranks_go_on_as_one_process_would(tmp_path: Path) -> None:
    expected = {}
    for name in NAMES:
        engine = build("local", OPTIMIZERS.get(name).Config(lr=1e-2))
        updates(engine, "plain", range(2))
        (tmp_path / name).mkdir()
        torch.save(engine.model_state(), tmp_path / name / "model.pt")
        engine.save(tmp_path / name)
        expected[name] = updates(engine, "plain", range(2, 6))
    for found in on_ranks(losses, 2, tmp_path, str(tmp_path)):
        for name in NAMES:
            # Muon's products are in bfloat16, which turns a rounding of the averaged gradient into one of 8 bits.
            assert found[name] == pytest.approx(expected[name], rel=1e-3 if name == "muon" else 1e-5), name
    comm.stop()
