"""DeepSpeed: states pass between stages and other engines bit for bit, and its traps stay shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.errors import MissingPackage
from tests.dist.pool import on_ranks
from tests.engines.test_replicated import build, updates

STAGES = [{"stage": stage, "persist_elements": 0} for stage in (1, 2, 3)]


def passed_on(folder: str) -> dict[str, Any]:
    """Save after two updates under every stage; load under every other engine, and save again."""
    found: dict[str, Any] = {"same": [], "losses": []}
    for first in STAGES:
        engine = build("deepspeed", **first)
        updates(engine, "gradcache", range(2))
        model, state = engine.model_state(), engine.training_state()
        place = Path(folder) / f"zero{first['stage']}"
        place.mkdir(exist_ok=True)
        engine.save(place)
        box = [model]
        torch.distributed.broadcast_object_list(box, src=0)
        torch.distributed.barrier()
        losses = [updates(engine, "plain", range(2, 4))]
        for name, fields in [("ddp", {}), *(("deepspeed", stage) for stage in STAGES)]:
            second = build(name, **fields)
            second.load_model_state(box[0])
            second.load(place)
            weights, slots = second.model_state(), second.training_state()
            found["same"].append(weights.keys() == model.keys() and slots.keys() == state.keys())
            found["same"] += [torch.equal(weights[key], value) for key, value in model.items()]
            found["same"] += [torch.equal(slots[key], value) for key, value in state.items()]
            losses.append(updates(second, "plain", range(2, 4)))
        found["losses"].append(losses)
    return found


@pytest.mark.slow
def test_a_state_passes_from_any_stage_to_any_engine(tmp_path: Path) -> None:
    first, _ = on_ranks(passed_on, 2, tmp_path, str(tmp_path))
    assert len(first["same"]) > 100 and all(first["same"])
    for stage, losses in zip((1, 2, 3), first["losses"], strict=True):
        uninterrupted, ddp, *zero = losses
        assert zero[stage - 1] == uninterrupted  # the same engine: bit for bit
        for other in (ddp, *zero):
            assert other == pytest.approx(uninterrupted, rel=1e-5)


def test_without_the_package_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'mmcontrast\[deepspeed\]'"):
        build("deepspeed")
