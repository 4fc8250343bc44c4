"""Frozen, partly frozen, adapted and recomputed towers have the gradients of one process under every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.engines import ENGINES
from mmcontrast.engines.base import Engine
from mmcontrast.model import Model
from mmcontrast.optim.adamw import AdamW
from mmcontrast.run import Run
from mmcontrast.tuning.fields import LoRAConfig, TowerTraining
from mmcontrast.verify_gradients import TOLERANCE, verify_gradients
from tests import tiny
from tests.dist.pool import on_ranks
from tests.engines.test_replicated import updates
from tests.small_run import tree
from tests.test_verify_gradients import ENGINES as ENGINE_TREES
from tests.test_verify_gradients import STEPS

TRAININGS: dict[str, dict[str, Any]] = {
    "locked image": {"image": {"frozen": True}},
    "parts": {
        "image": {"frozen": True, "frozen_head": True},
        "audio": {"frozen": True, "unlocked_blocks": 1, "unlocked": ["norms"]},
        "text": {"frozen": True, "unlocked": ["embeddings"]},
    },
    "adapters": {
        "image": {"frozen": True},
        "text": {"lora": {"rank": 2, "dropout": 0.2}, "unlocked": ["norms"], "checkpointing": True},
    },
    "recomputed": {"image": {"frozen": True}, "audio": {"checkpointing": True}, "text": {"checkpointing": True}},
}
CASES = [f"{engine}/{step}/{training}" for engine in ENGINE_TREES for step in STEPS for training in TRAININGS]


def run_of(sets: dict[str, str], out: str, case: str) -> Run:
    """A run with missing modalities and dropout."""
    engine, step, training = case.split("/")
    built = tree(sets, Path(out), engine={"device": "cpu", **ENGINE_TREES[engine]}, step=STEPS[step])
    built["model"]["towers"]["text"] |= {"dropout": 0.3, "layers": 2}
    built["model"]["training"] = TRAININGS[training]
    return parse(Run, built)


def compared(sets: dict[str, str], out: str, cases: list[str]) -> dict[str, dict[str, Any]]:
    """Of each case the largest difference, and names and sizes of gradients and optimizer states."""
    found = {}
    for case in cases:
        run = run_of(sets, out, case)
        verified = verify_gradients(run)
        found[case] = {"largest": max(each.largest for each in verified.differences),
                       "parts": [each.part for each in verified.differences]}  # fmt: skip
    return found


def assert_compared(found: dict[str, dict[str, Any]], cases: list[str]) -> None:
    assert list(found) == cases
    for case, each in found.items():
        assert each["largest"] <= TOLERANCE, (case, each)
        assert "towers.text" in each["parts"] and "towers.image" not in each["parts"], (case, each)


def test_under_ddp(sets: dict[str, str], tmp_path: Path) -> None:
    cases = ["ddp/gradcache/parts"]
    for found in on_ranks(compared, 2, tmp_path, sets, str(tmp_path / "run"), cases):
        assert_compared(found, cases)


@pytest.mark.slow
def test_under_every_engine_and_step(sets: dict[str, str], tmp_path: Path) -> None:
    for found in on_ranks(compared, 2, tmp_path, sets, str(tmp_path / "run"), CASES):
        assert_compared(found, CASES)


def frozen_and_adapted() -> Model:
    """A tiny model with a locked tower, one with its last block unlocked, and one with adapters."""
    training = {
        "image": TowerTraining(frozen=True),
        "audio": TowerTraining(frozen=True, unlocked_blocks=1),
        "text": TowerTraining(lora=LoRAConfig(rank=2)),
    }
    return tiny.model(training=training).eval()


def engine_of(name: str, **fields: Any) -> Engine:
    """An engine over such a model."""
    config = ENGINES.get(name).Config(device="cpu", **fields)
    ENGINES.get(name).start(config)
    model = frozen_and_adapted()
    return ENGINES.build(config, model=model, optimizer=AdamW(AdamW.Config(lr=1e-2)))


def passed_on(folder: str) -> dict[str, Any]:
    """States after two updates under ZeRO 3, taken up by every engine, and the losses that follow."""
    first = engine_of("deepspeed", stage=3, persist_elements=0)
    shared = {}
    for part, parameter in first.model.named_parameters():
        whole: Any = parameter  # DeepSpeed adds to parameters
        shared[part] = (whole.ds_tensor.numel(), whole.ds_numel)
    updates(first, "plain", range(2))
    model, state = first.model_state(), first.training_state()
    first.save(Path(folder))
    box = [model]
    torch.distributed.broadcast_object_list(box, src=0)
    found: dict[str, Any] = {"shared": shared, "model": model, "state": state, "losses": []}
    found["losses"].append(updates(first, "plain", range(2, 4)))
    for name, fields in (("ddp", {}), ("deepspeed", {"stage": 1}), ("deepspeed", {"stage": 3, "persist_elements": 0})):
        second = engine_of(name, **fields)
        second.load_model_state(box[0])
        second.load(Path(folder))
        again = second.model_state()
        found.setdefault("same", []).append(all(torch.equal(again[key], value) for key, value in model.items()))
        found["losses"].append(updates(second, "plain", range(2, 4)))
    return found


@pytest.mark.slow
def test_a_state_with_frozen_and_adapted_towers_passes_from_zero_to_any_engine(tmp_path: Path) -> None:
    first, second = on_ranks(passed_on, 2, tmp_path, str(tmp_path))
    model = frozen_and_adapted()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.partition("/")[2] for name in first["state"]} - {""} == trained
    assert first["model"].keys() == model.state_dict().keys() and all(first["same"]) and second["model"] == {}
    for part in (first, second):
        # Stage 3 shares frozen weights as well.
        assert all(2 * mine >= whole > mine or whole == 1 for mine, whole in part["shared"].values())
        uninterrupted, ddp, stage1, stage3 = part["losses"]
        assert stage3 == uninterrupted  # bit for bit
        assert ddp == pytest.approx(uninterrupted, rel=1e-5) and stage1 == pytest.approx(uninterrupted, rel=1e-5)
