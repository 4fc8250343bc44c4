"""Every engine, step and objective has the gradients of one process with the whole batch; a wrong one is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.engines.ddp import DDP
from mmcontrast.engines.replicated import Replicated
from mmcontrast.run import Run
from mmcontrast.steps.gradcache import GradCache
from mmcontrast.verify_gradients import TOLERANCE, Verified, compare, in_words, verify_gradients
from tests.dist.pool import on_ranks
from tests.small_run import tree

ENGINES = {
    "ddp": {"type": "ddp"},
    # persist_elements: 0 lets stage 3 partition even tiny weights.
    **{f"zero{stage}": {"type": "deepspeed", "stage": stage, "persist_elements": 0} for stage in (1, 2, 3)},
}
STEPS = {"plain": {"type": "plain"}, "gradcache": {"type": "gradcache", "chunk_rows": 2}}
OBJECTIVES = {
    "infonce": {"type": "infonce", "pairs": [["image", "text"], ["audio", "text"]], "group": "group"},
    "siglip": {"type": "siglip", "pair": ["audio", "text"]},
}
CASES = [f"{engine} {step} {objective}" for engine in ENGINES for step in STEPS for objective in OBJECTIVES]


def run_of(manifests: dict[str, str], out: str, case: str, **fields: Any) -> Run:
    """A run with missing modalities (no source has all three) and dropout on."""
    engine, step, objective = case.split()
    changed = {
        "engine": {"device": "cpu", **({"type": "local"} if engine == "local" else ENGINES[engine])},
        "step": STEPS[step],
        "objectives": {"main": OBJECTIVES[objective]},
        **fields,
    }
    built = tree(manifests, Path(out), **changed)
    built["model"]["towers"]["text"]["dropout"] = 0.3
    if objective == "siglip":
        del built["model"]["towers"]["image"]
    return parse(Run, built)


def largest(verified: Verified) -> dict[str, float]:
    return {each.part: each.largest for each in verified.differences}


def all_cases(manifests: dict[str, str], out: str, cases: list[str]) -> dict[str, dict[str, float]]:
    return {case: largest(verify_gradients(run_of(manifests, out, case))) for case in cases}


def assert_verified(found: dict[str, dict[str, float]], cases: list[str]) -> None:
    assert list(found) == cases
    for case, parts in found.items():
        assert {"loss", "towers.audio", "towers.text", "heads.text", "objectives.main"} <= parts.keys()
        assert max(parts.values()) <= TOLERANCE, f"{case}: {parts}"


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_every_engine_and_step_has_the_gradients_of_one_process(
    sets: dict[str, str],
    tmp_path: Path,
    world_size: int,
) -> None:
    cases = [*(f"local {step} {name}" for step in STEPS for name in OBJECTIVES if world_size == 1), *CASES]
    for found in on_ranks(all_cases, world_size, tmp_path, sets, str(tmp_path / "run"), cases):
        assert_verified(found, cases)


def test_ddp_on_two_ranks_has_the_gradients_of_one_process(sets: dict[str, str], tmp_path: Path) -> None:
    cases = ["ddp gradcache infonce"]
    for found in on_ranks(all_cases, 2, tmp_path, sets, str(tmp_path / "run"), cases):
        assert_verified(found, cases)


@pytest.mark.slow
def test_weights_of_a_combiner_have_their_gradients_under_stage_3(sets: dict[str, str], tmp_path: Path) -> None:
    cases = ["zero3 gradcache infonce"]
    for found in on_ranks(weighed_cases, 2, tmp_path, sets, str(tmp_path / "run"), cases):
        assert_verified(found, cases)
        assert "combiner.log_variances" in found[cases[0]]


def weighed_cases(manifests: dict[str, str], out: str, cases: list[str]) -> dict[str, dict[str, float]]:
    """The same with two objectives whose weights are learned."""
    objectives = {"main": OBJECTIVES["infonce"], "other": OBJECTIVES["siglip"]}
    fields = {"objectives": objectives, "combine": {"type": "uncertainty"}}
    return {case: largest(verify_gradients(run_of(manifests, out, case, **fields))) for case in cases}


def unaveraged(manifests: dict[str, str], out: str) -> dict[str, float]:
    """As when ddp never learns which backward is the last."""
    backward = DDP.backward
    DDP.backward = Replicated.backward  # type: ignore[method-assign]
    try:
        return largest(verify_gradients(run_of(manifests, out, "ddp plain siglip")))
    finally:
        DDP.backward = backward  # type: ignore[method-assign]


def test_gradients_that_are_not_averaged_are_found_out(sets: dict[str, str], tmp_path: Path) -> None:
    for found in on_ranks(unaveraged, 2, tmp_path, sets, str(tmp_path / "run")):
        assert found["loss"] <= TOLERANCE and found["towers.text"] > 0.01


def test_a_cached_step_without_replayed_dropout_is_found_out(
    sets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from contextlib import nullcontext

    from mmcontrast.randomness import RandomState

    run = run_of(sets, str(tmp_path), "local gradcache infonce")
    assert max(largest(verify_gradients(run)).values()) <= TOLERANCE
    monkeypatch.setattr(RandomState, "replayed", lambda self: nullcontext())
    found = verify_gradients(run)
    assert largest(found)["towers.text"] > 0.01
    assert "these are not the gradients of the batch" in in_words(found)[-1]


def test_accumulation_is_compared_with_its_own_micro_batches(sets: dict[str, str], tmp_path: Path) -> None:
    run = run_of(sets, str(tmp_path), "local plain infonce", step={"type": "accumulate", "micro_rows": 3})
    found = verify_gradients(run)
    assert max(largest(found).values()) <= TOLERANCE
    assert "the same 3 micro-batches" in in_words(found)[-1]


def test_not_a_number_is_a_difference() -> None:
    found = compare({"a.b.c": torch.tensor([float("nan"), 0.0])}, {"a.b.c": torch.ones(2)})
    assert found[0].largest == float("inf") and found[0].part == "a.b"


def test_the_sample_has_several_chunks(sets: dict[str, str], tmp_path: Path) -> None:
    run = run_of(sets, str(tmp_path), "local plain infonce", step={"type": "gradcache", "chunk_rows": 128})
    assert isinstance(run.step, GradCache.Config)
    assert "step gradcache, 8 rows" in verify_gradients(run).setting
