"""Frozen, partly frozen, adapted and recomputed towers have the gradients of one process under every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import parse
from mmcontrast.run import Run
from mmcontrast.verify_gradients import TOLERANCE, verify_gradients
from tests.dist.pool import on_ranks
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
