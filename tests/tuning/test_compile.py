"""Compiled towers: the same numbers at any length, the same names, and dropout that GradCache can replay."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from mmcontrast.errors import ConfigError
from mmcontrast.run import check
from mmcontrast.towers import TOWERS
from mmcontrast.tuning import compilation
from mmcontrast.tuning.compilation import compile_tower
from mmcontrast.verify_gradients import TOLERANCE, verify_gradients
from tests import tiny
from tests.dist.pool import on_ranks
from tests.small_run import run_of, tree
from tests.test_verify_gradients import largest


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as for the compiler, run by torch's own kernels: seconds instead of minutes."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.parametrize("modality", sorted(tiny.TOWERS))
def test_a_tower_computes_the_same_at_any_number_of_rows_and_tokens(modality: str, traced: None) -> None:
    torch.manual_seed(0)
    expected = TOWERS.build(tiny.TOWERS[modality]).train()
    tower = copy.deepcopy(expected)
    compile_tower(tower)
    values = tiny.batch(12, present=1.0).columns[modality].values
    sizes = [(12, 6), (7, 5), (5, 4), (9, 3)] if modality == "text" else [(12, 0), (7, 0), (5, 0)]
    for rows, tokens in sizes:
        part = values[:rows, :tokens] if modality == "text" else values[:rows]
        for each in (expected, tower):
            each.zero_grad()
            torch.manual_seed(1)  # dropout and masking draw the same
            each(part).pooled.square().sum().backward()
        for (name, mine), theirs in zip(tower.named_parameters(), expected.parameters(), strict=True):
            scale = float(theirs.grad.abs().max())
            torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5 * max(scale, 1e-3), rtol=1e-5, msg=name)
    assert tower.state_dict().keys() == expected.state_dict().keys()
    assert 1 <= counters["stats"]["unique_graphs"] <= 2 * (1 + sum(counters["graph_break"].values()))


def compiled_run(
    sets: dict[str, str],
    out: Path,
    engine: str,
    step: dict[str, Any],
    *,
    compiled: tuple[str, ...] = ("image", "audio", "text"),
    **fields: Any,
) -> Any:
    """A run with compiled towers; ``fields`` are the engine's."""
    built = tree(sets, out)
    built["model"]["towers"]["text"]["dropout"] = 0.3
    built["model"]["training"] = {name: {"compile": True} for name in compiled}
    return run_of(sets, out, model=built["model"], engine={"type": engine, "device": "cpu", **fields}, step=step)


@pytest.mark.parametrize("step", [{"type": "plain"}, {"type": "gradcache", "chunk_rows": 2}], ids=str)
def test_a_step_of_compiled_towers_has_the_gradients_of_plain_ones(
    step: dict[str, Any], sets: dict[str, str], tmp_path: Path, traced: None
) -> None:
    found = largest(verify_gradients(compiled_run(sets, tmp_path, "local", step)))
    assert max(found.values()) <= TOLERANCE and {"towers.audio", "towers.image", "towers.text"} <= found.keys()


def compared(sets: dict[str, str], out: str) -> dict[str, float]:
    """One rank's view of a cached step under ddp, with graphs as for the compiler."""
    compilation.BACKEND = "aot_eager"  # in a process of its own
    step = {"type": "gradcache", "chunk_rows": 2}
    return largest(verify_gradients(compiled_run(sets, Path(out), "ddp", step)))


@pytest.mark.slow
def test_compiled_towers_under_ddp_have_the_gradients_of_plain_ones(sets: dict[str, str], tmp_path: Path) -> None:
    for found in on_ranks(compared, 2, tmp_path, sets, str(tmp_path / "run")):
        assert max(found.values()) <= TOLERANCE, found


def compared_under_deepspeed(sets: dict[str, str], out: str) -> dict[str, dict[str, float]]:
    """One rank's view of both steps at stages 1 and 2.

    Pictures stay as they are: with row-major weights this backend foresees other strides of a convolution's result
    than torch's own kernels give.  The compiler's kernels have the strides that it foresees.
    """
    compilation.BACKEND = "aot_eager"
    found = {}
    for stage in (1, 2):
        for step in ({"type": "plain"}, {"type": "gradcache", "chunk_rows": 2}):
            run = compiled_run(sets, Path(out), "deepspeed", step, stage=stage, compiled=("audio", "text"))
            found[f"{stage} {step['type']}"] = largest(verify_gradients(run))
            assert counters["stats"]["unique_graphs"] >= 2, "nothing was compiled"
    return found


@pytest.mark.slow
def test_compiled_towers_under_stages_1_and_2_have_the_gradients_of_plain_ones(
    sets: dict[str, str], tmp_path: Path
) -> None:
    for found in on_ranks(compared_under_deepspeed, 2, tmp_path, sets, str(tmp_path / "run")):
        assert len(found) == 4
        for case, parts in found.items():
            assert max(parts.values()) <= TOLERANCE, (case, parts)


def test_stage_3_refuses_compiled_towers(sets: dict[str, str], tmp_path: Path) -> None:
    run = compiled_run(sets, tmp_path, "deepspeed", {"type": "plain"}, stage=3)
    with pytest.raises(ConfigError, match=r"compile: engine deepspeed does not run compiled towers at stage 3\."):
        check(run)
    check(compiled_run(sets, tmp_path, "deepspeed", {"type": "plain"}, stage=2))
