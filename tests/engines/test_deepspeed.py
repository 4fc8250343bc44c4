"""DeepSpeed: states pass between stages and other engines bit for bit, and its traps stay shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast import comm
from mmcontrast.engines.base import Engine
from mmcontrast.errors import MissingPackage
from mmcontrast.optim.adamw import AdamW
from mmcontrast.optim.groups import TowerRates
from mmcontrast.steps.accumulate import Accumulate
from tests import tiny
from tests.dist.pool import on_ranks
from tests.engines.test_replicated import ROWS, build, share, step_of, updates

STAGES = [{"stage": stage, "persist_elements": 0} for stage in (1, 2, 3)]
PRECISIONS = ("fp32", "bf16", "fp16")
CLIP = 0.5  # far below the norms of these gradients
SETTINGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddp": ("ddp", "plain", {}),
    "stage 1": ("deepspeed", "gradcache", STAGES[0]),
    "stage 2": ("deepspeed", "plain", STAGES[1]),
    "stage 3": ("deepspeed", "gradcache", STAGES[2]),
    "stage 2, offloaded": ("deepspeed", "gradcache", {"stage": 2, "offload_optimizer": "cpu"}),
    "stage 3, offloaded": ("deepspeed", "plain", {**STAGES[2], "offload_optimizer": "cpu"}),
}
CASES = [f"{name}/{precision}" for name in SETTINGS for precision in PRECISIONS]
# Layer by layer, and one tower apart: ten groups of parameters.
RATES = AdamW.Config(lr=1e-2, layer_decay=0.5, towers={"text": TowerRates(lr=1e-3, weight_decay=0.01)})
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
    """An update in which sounds, captions and the objective receive no gradient: gradients, then first moments."""
    batch = share(tiny.batch(ROWS, seed=seed))
    with engine.one_update():
        engine.backward(engine("embed", batch).columns["image"].z[:, 0].sum())
    gradients = {name: value.clone() for name, value in engine.gradients().items()}
    engine.step(lr_factor=1.0)
    return {"gradients": gradients, "moments": first_moments(engine)}


def first_moments(engine: Engine) -> dict[str, torch.Tensor]:
    """Adam's running mean of each gradient; on rank 0."""
    state = engine.training_state()
    return {key.partition("/")[2]: value for key, value in state.items() if key.startswith("exp_avg/")}


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


def clipped(engine: Engine, step: str) -> dict[str, Any]:
    """An update of the whole batch: its loss, gradients, norm, and the first moments that clipped gradients leave.

    In fp16 the scale starts too large for some gradients: such updates change nothing but the scale.
    """
    halved = -1
    update = None
    while update is None or update.rescaled:
        halved += 1
        terms = step_of(step, engine)(share(tiny.batch(ROWS, seed=1)))
        gradients = {name: value.clone() for name, value in engine.gradients().items()}
        update = engine.step(lr_factor=1.0)
    return {
        "loss": comm.all_mean(terms.loss),
        "gradients": gradients,
        "norm": update.grad_norm,
        "applied": update.applied,
        "halved": halved,
        "scale": engine.loss_scale,
        "moments": first_moments(engine),
        "weights": engine.model_state(),
    }


def all_clipped() -> dict[str, dict[str, Any]]:
    """The update under every setting and precision."""
    found = {}
    for case in CASES:
        name, precision = case.split("/")
        engine, step, fields = SETTINGS[name]
        found[case] = clipped(build(engine, RATES, precision=precision, clip_norm=CLIP, **fields), step)
    return found


def everything(folder: str) -> dict[str, Any]:
    """All that two ranks are asked: one start of processes, one import of deepspeed."""
    return {"passed on": passed_on(folder), "without gradients": without_gradients(), "refused": refused(),
            "clipped": all_clipped()}  # fmt: skip


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
        assert bool(expected["moments"]) == (rank == 0)
        # Weights would not do: Adam's steps have the size of the learning rate even where gradients are rounding.
        for kind in ("gradients", "moments") if rank == 0 else ("gradients",):
            assert_close_by_part(found[kind], expected[kind], tolerance=PARITY["fp32"])


@pytest.fixture(scope="module")
def on_one_process() -> dict[str, dict[str, Any]]:
    return {
        precision: clipped(build("local", RATES, precision=precision, clip_norm=CLIP), "plain")
        for precision in PRECISIONS
    }


def assert_close_by_part(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], *, tolerance: float
) -> None:
    """No number of a part differs by more than ``tolerance`` times the part's largest."""
    theirs = tiny.by_part(found)
    for part, value in tiny.by_part(expected).items():
        assert float((theirs[part] - value).abs().max()) <= tolerance * float(value.abs().max()), part


# Sums in another order in fp32.  In half precision each rank's gradient of a weight is rounded to 8 or 11 bits before
# ranks are averaged, and so is all that flows back to it: a few units in the last place.
PARITY = {"fp32": 1e-5, "bf16": 2**-6, "fp16": 2**-8}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_clipped_updates_are_those_of_one_process(
    case: str, on_two_ranks: list[dict[str, Any]], on_one_process: dict[str, dict[str, Any]]
) -> None:
    precision = case.split("/")[1]
    tolerance, expected = PARITY[precision], on_one_process[precision]
    for rank, part in enumerate(on_two_ranks):
        found = part["clipped"][case]
        assert found["applied"] and found["halved"] == on_two_ranks[0]["clipped"][case]["halved"]
        # A rank's loss is its share times the number of ranks: it overflows earlier than one process with all rows.
        assert found["scale"] == (2.0 ** (16 - found["halved"]) if precision == "fp16" else 1.0)
        assert found["loss"].dtype == torch.float32
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=tolerance)
        assert found["norm"] == pytest.approx(expected["norm"], rel=tolerance) and found["norm"] > 2 * CLIP
        assert all(value.dtype == torch.float32 for value in found["gradients"].values())
        for kind in ("gradients", "moments") if rank == 0 else ("gradients",):
            assert_close_by_part(found[kind], expected[kind], tolerance=tolerance)
        if rank == 0:  # what was clipped has the norm asked for
            total = torch.cat(list(tiny.by_part(found["moments"]).values())).norm()
            assert float(total) == pytest.approx(0.1 * CLIP, rel=1e-4)
            assert all(
                value.dtype == torch.float32 for name, value in found["weights"].items() if "objectives" in name
            )


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_groups_of_their_own_rates_are_updated_as_on_one_process(
    stage: int, on_two_ranks: list[dict[str, Any]], on_one_process: dict[str, dict[str, Any]]
) -> None:
    start, expected = tiny.model().state_dict(), on_one_process["fp32"]["weights"]
    found = on_two_ranks[0]["clipped"][f"stage {stage}/fp32"]["weights"]
    for name, value in expected.items():
        moved = (value - start[name]).abs().max()
        # Adam's first step has the size of the learning rate, whatever the gradient: parameters whose gradient is a
        # rounding error alone (the bias of attention keys) may step either way.
        settled = (value - start[name]).abs() > 0.9 * moved
        torch.testing.assert_close(found[name][settled], value[settled], atol=2e-4 * float(moved), rtol=1e-6, msg=name)


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
