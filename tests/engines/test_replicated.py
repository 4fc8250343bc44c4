"""The engines that hold all weights on every rank: ddp is local on more ranks, and states go from one to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast import comm
from mmcontrast.engines import ENGINES
from mmcontrast.engines.base import Engine
from mmcontrast.engines.loss_scale import LossScale
from mmcontrast.errors import CheckpointError, LaunchError
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.adamw import AdamW
from mmcontrast.steps import STEPS
from mmcontrast.types import Batch
from tests import tiny
from tests.dist.pool import on_ranks

ROWS = 12
ADAMW = AdamW.Config(lr=1e-2)


def build(name: str, optimizer: Any = ADAMW, **fields: Any) -> Engine:
    config = ENGINES.get(name).Config(device="cpu", **fields)
    ENGINES.get(name).start(config)
    return ENGINES.build(config, model=tiny.model().eval(), optimizer=OPTIMIZERS.build(optimizer))


def step_of(name: str, engine: Engine) -> Any:
    config = STEPS.get(name).Config() if name == "plain" else STEPS.get(name).Config(chunk_rows=2)
    return STEPS.build(config, engine=engine)


def share(batch: Batch) -> Batch:
    rows = len(batch) // comm.world_size()
    return batch.rows(slice(comm.rank() * rows, (comm.rank() + 1) * rows))


def updates(engine: Engine, step: str, seeds: range) -> list[float]:
    """Losses of the global batch in so many updates."""
    losses = []
    for seed in seeds:
        terms = step_of(step, engine)(share(tiny.batch(ROWS, seed=seed)))
        losses.append(float(comm.all_mean(terms.loss)))
        engine.step(lr_factor=1.0)
    return losses


def trained(engine: str, step: str, start: str) -> dict[str, Any]:
    """Gradients and norm of the first update from a saved state, and the losses of the next ones."""
    built = build(engine)
    built.load_model_state(torch.load(f"{start}/model.pt", weights_only=True))
    built.load(Path(start))
    step_of(step, built)(share(tiny.batch(ROWS, seed=2)))
    gradients = {name: value.clone() for name, value in built.gradients().items()}
    norm = built.step(lr_factor=1.0).grad_norm
    losses = updates(built, step, range(3, 6))
    return {"gradients": gradients, "norm": norm, "losses": losses, "model": built.model_state()}


@pytest.mark.parametrize("step", ["plain", "gradcache"])
def test_ddp_goes_on_where_local_stopped_as_local_would(step: str, tmp_path: Path) -> None:
    first = build("local")
    updates(first, "plain", range(2))
    torch.save(first.model_state(), tmp_path / "model.pt")
    first.save(tmp_path)
    whole = trained("local", "plain", str(tmp_path))
    parts = on_ranks(trained, 2, tmp_path, "ddp", step, str(tmp_path))
    for part in parts:  # every rank has the averaged gradient
        assert part["norm"] == pytest.approx(whole["norm"], rel=1e-5)
        for name, value in whole["gradients"].items():
            component = ".".join(name.split(".")[:2])
            # Relative to the component: the bias of attention keys, say, has a gradient of rounding errors alone.
            largest = max(float(g.abs().max()) for key, g in whole["gradients"].items() if key.startswith(component))
            torch.testing.assert_close(part["gradients"][name], value, atol=1e-5 * largest, rtol=1e-5, msg=name)
        assert part["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    assert parts[1]["model"] == {} and parts[0]["model"].keys() == whole["model"].keys()


@pytest.mark.parametrize("name", ["local", "ddp"])
def test_a_saved_state_continues_bit_for_bit(name: str, tmp_path: Path) -> None:
    try:
        whole = build(name)
        updates(whole, "plain", range(4))
        first = build(name)
        updates(first, "plain", range(2))
        first.save(tmp_path)
        second = build(name)
        second.load_model_state(first.model_state())
        second.load(tmp_path)
        updates(second, "plain", range(2, 4))
        expected = whole.model_state()
        assert all(torch.equal(value, expected[key]) for key, value in second.model_state().items())
        slots = second.training_state()
        assert {key.partition("/")[0] for key in slots} == {"exp_avg", "exp_avg_sq", "step"}
        assert all(torch.equal(value, whole.training_state()[key]) for key, value in slots.items())
    finally:
        comm.stop()


def test_a_missing_or_damaged_state_is_one_error(tmp_path: Path) -> None:
    engine = build("local")
    with pytest.raises(CheckpointError, match="cannot read"):
        engine.load(tmp_path)
    (tmp_path / "optimizer.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="cannot read"):
        engine.load(tmp_path)
    with pytest.raises(CheckpointError, match="cannot write"):
        engine.save(tmp_path / "nowhere")


@pytest.mark.parametrize("step", ["plain", "gradcache"])
def test_fp16_gradients_are_those_of_fp32_whatever_the_scale(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A number near 0 may fall on ReLU's other side in half precision, which switches whole paths of the gradient: 2e-2
    # to 6e-2 of the gradient of these small towers.  With a smooth function what is left is rounding.
    monkeypatch.setattr(torch.Tensor, "relu_", lambda values: torch.nn.functional.softplus(values))
    exact, half = (smooth(build("local", precision=precision)) for precision in ("fp32", "fp16"))
    step_of(step, exact)(tiny.batch(ROWS))
    start = half.model_state()
    step_of(step, half)(tiny.batch(ROWS))
    while not all(torch.isfinite(value).all() for value in half.gradients().values()):  # 65,504 is the largest number
        assert half.step(lr_factor=0.0).rescaled
        step_of(step, half)(tiny.batch(ROWS))
    assert all(torch.equal(value, start[name]) for name, value in half.model_state().items())
    assert half.loss_scale > 1
    found = tiny.by_part(half.gradients())
    for part, expected in tiny.by_part(exact.gradients()).items():
        # Matrix products of 11 bits, 5e-4 each, a dozen of them after one another: up to 2.5e-3 was seen.
        assert float((found[part] - expected).norm() / expected.norm()) < 5e-3, part


def smooth(engine: Engine) -> Engine:
    """Put a smooth function in the place of every ReLU that is a module."""
    for module in list(engine.model.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                module.add_module(name, torch.nn.Softplus())
    return engine


def test_overflow_in_fp16_halves_the_scale_and_changes_no_weight() -> None:
    engine = build("local", precision="fp16")
    before = engine.model_state()
    step_of("plain", engine)(tiny.batch(ROWS))
    next(engine.model.parameters()).grad.fill_(float("inf"))
    update = engine.step(lr_factor=1.0)
    assert not update.applied and update.rescaled and engine.loss_scale == 2.0**15
    assert all(torch.equal(value, before[key]) for key, value in engine.model_state().items())


def test_a_broken_gradient_in_fp32_is_not_blamed_on_the_scale() -> None:
    engine = build("local")
    step_of("plain", engine)(tiny.batch(ROWS))
    next(engine.model.parameters()).grad.fill_(float("nan"))
    update = engine.step(lr_factor=1.0)
    assert not update.applied and not update.rescaled


def test_the_loss_scale_follows_torch() -> None:
    ours = LossScale(enabled=True)
    peer = torch.amp.GradScaler("cpu", growth_interval=2000)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for number in range(4100):
        finite = number not in (5, 6, 2500)
        peer.scale(weight.sum() * 0 + (1.0 if finite else float("inf")) * weight.sum()).backward()
        peer.step(optimizer)
        peer.update()
        optimizer.zero_grad()
        ours.update(finite=finite)
        assert ours.value == peer.get_scale(), number
    again = LossScale(enabled=True)
    again.load(ours.state())
    assert again.state()["loss_scale"].tolist() == ours.state()["loss_scale"].tolist()


def test_local_refuses_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match="'local' is one process, but the launcher started 2"):
        build("local")
