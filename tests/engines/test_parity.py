"""Two ranks have the gradients of one process to 1e-6, under every stage, whatever is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.parity import CASES, KINDS, STAGES, differences

BAR = 1e-6


@pytest.mark.slow
def test_gradients_under_every_stage_and_kind_of_run_are_those_of_one_process(tmp_path: Path) -> None:
    found = differences(tmp_path)
    assert list(found) == CASES and len(CASES) == len(STAGES) * len(KINDS) == 20
    over = {case: largest for case, largest in found.items() if not largest <= BAR}
    assert not over, over
