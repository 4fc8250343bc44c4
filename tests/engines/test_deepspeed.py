"""DeepSpeed: states pass between stages and other engines bit for bit, and its traps stay shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.engines.base import Engine
from mmcontrast.errors import MissingPackage
from mmcontrast.steps.accumulate import Accumulate
from tests import tiny
from tests.dist.pool import on_ranks
from tests.engines.test_replicated import ROWS, build, share, updates

STAGES = [{"stage": stage, "persist_elements": 0} for stage in (1, 2, 3)]
REFUSING: dict[str, dict[str, Any]] = {
    **{f"stage {fields['stage']}": fields for fields in STAGES},
    "stage 2, offloaded": {"stage": 2, "offload_optimizer": "cpu"},
}


def passed_on(folder: str) -> dict[str, Any]:
    """Save after two updates under every stage; load under every other engine, and save again; then two more."""
    found: dict[str, Any] = {"same": [], "losses": [], "averages": []}
    for first in STAGES:
        engine = build("deepspeed", **first)
        for seed in range(2):
            updates(engine, "gradcache", range(seed, seed + 1))
            engine.average(keep=0.5)
        model, state = engine.model_state(), engine.training_state()
        place = Path(folder) / f"zero{first['stage']}"
        place.mkdir(exist_ok=True)
        engine.save(place)
        box = [model]
        torch.distributed.broadcast_object_list(box, src=0)
        torch.distributed.barrier()
        losses, averages = [updates(engine, "plain", range(2, 4))], [moved_on(engine)]
        for name, fields in [("ddp", {}), *(("deepspeed", stage) for stage in STAGES)]:
            second = build(name, **fields)
            second.load_model_state(box[0])
            second.load(place)
            weights, slots = second.model_state(), second.training_state()
            found["same"].append(weights.keys() == model.keys() and slots.keys() == state.keys())
            found["same"] += [torch.equal(weights[key], value) for key, value in model.items()]
            found["same"] += [torch.equal(slots[key], value) for key, value in state.items()]
            losses.append(updates(second, "plain", range(2, 4)))
            averages.append(moved_on(second))
        found["losses"].append(losses)
        found["averages"].append(averages)
    return found


def moved_on(engine: Engine) -> dict[str, torch.Tensor]:
    """The average of the weights after one more move."""
    engine.average(keep=0.75)
    return {name: value for name, value in engine.training_state().items() if name.startswith("ema/")}


def only_pictures(engine: Engine, seed: int) -> dict[str, Any]:
    """An update in which sounds, captions and the objective receive no gradient: gradients, then weights."""
    batch = share(tiny.batch(ROWS, seed=seed))
    with engine.one_update():
        engine.backward(engine("embed", batch).columns["image"].z[:, 0].sum())
    gradients = {name: value.clone() for name, value in engine.gradients().items()}
    engine.step(lr_factor=1.0)
    return {"gradients": gradients, "weights": engine.model_state()}


def without_gradients() -> dict[str, dict[str, Any]]:
    """Under ddp and every stage, after an update that gave every parameter a gradient."""
    found = {}
    for name, fields in [("ddp", {}), *(("deepspeed", stage) for stage in STAGES)]:
        engine = build(name, **fields)
        updates(engine, "plain", range(1))
        found[f"{name}{fields.get('stage', '')}"] = only_pictures(engine, seed=1)
    return found


def refused() -> dict[str, dict[str, list[float]]]:
    """Losses under every setting: all batches allowed; one refused before, or after, a backward of its own."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, fields in REFUSING.items():
        found[name] = losses = {}
        for calls in (None, 0, 1):
            engine = build("deepspeed", **fields)
            losses[f"refused after {calls}"] = updates(engine, "plain", range(2))
            if calls is not None:
                answers = iter([True] * calls + [False])
                step = Accumulate(Accumulate.Config(micro_rows=2), engine=engine)
                step(share(tiny.batch(ROWS, seed=9)), allows=lambda terms, answers=answers: next(answers))  # type: ignore[misc]
            losses[f"refused after {calls}"] += updates(engine, "plain", range(2, 4))
    return found


def everything(folder: str) -> dict[str, Any]:
    """All that two ranks are asked: one start of processes, one import of deepspeed."""
    return {"passed on": passed_on(folder), "without gradients": without_gradients(), "refused": refused()}


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    return on_ranks(everything, 2, folder, str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_parameter_without_a_gradient_is_updated_with_zeros_as_under_ddp(
    stage: int, on_two_ranks: list[dict[str, Any]]
) -> None:
    for rank, part in enumerate(on_two_ranks):
        expected, found = part["without gradients"]["ddp"], part["without gradients"][f"deepspeed{stage}"]
        for name, value in expected["gradients"].items():
            if not name.startswith(("towers.image", "heads.image")):
                assert not value.any() and not found["gradients"][name].any(), name
            torch.testing.assert_close(found["gradients"][name], value, atol=1e-6, rtol=1e-4, msg=name)
        assert bool(expected["weights"]) == (rank == 0)
        for name, value in expected["weights"].items():
            # Adam shows a small gradient's rounding in the weight; a stale gradient would show as 3e-3, a third of the
            # learning rate.
            torch.testing.assert_close(found["weights"][name], value, atol=2e-3, rtol=0, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("setting", REFUSING)
def test_a_refused_batch_leaves_no_trace(setting: str, on_two_ranks: list[dict[str, Any]]) -> None:
    for part in on_two_ranks:
        expected, *others = part["refused"][setting].values()
        assert others == [expected, expected]  # bit for bit


@pytest.mark.slow
def test_a_state_passes_from_any_stage_to_any_engine(on_two_ranks: list[dict[str, Any]]) -> None:
    first = on_two_ranks[0]["passed on"]
    assert len(first["same"]) > 100 and all(first["same"])
    for stage, losses, averages in zip((1, 2, 3), first["losses"], first["averages"], strict=True):
        uninterrupted, ddp, *zero = losses
        assert zero[stage - 1] == uninterrupted  # the same engine: bit for bit
        for other in (ddp, *zero):
            assert other == pytest.approx(uninterrupted, rel=1e-5)
        expected, *others = averages
        assert expected and all(other.keys() == expected.keys() for other in others)
        for name, value in expected.items():
            assert torch.equal(others[stage][name], value), name  # others[0] is ddp's
            for other in others:  # a quarter of how far apart Adam may bring the weights
                torch.testing.assert_close(other[name], value, atol=5e-4, rtol=0, msg=name)


def test_without_the_package_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'mmcontrast\[deepspeed\]'"):
        build("deepspeed")
