"""metrics.jsonl holds whole lines, whatever happened to the process or to the disk."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from mmcontrast.logs import Log


def rows(folder: Path, steps: range) -> None:
    with Log(folder, steps=100, every_steps=1, tensorboard=False) as log:
        for step in steps:
            log.scalars(step, {"loss": 0.5 * step, "batch_rows": 8})


def steps_in(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kept", [-1, -20])
def test_a_line_that_was_cut_off_is_removed_before_the_next_one(kept: int, tmp_path: Path) -> None:
    rows(tmp_path, range(1, 4))
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:kept])
    rows(tmp_path, range(3, 5))
    assert steps_in(tmp_path) == [1, 2, 3, 4]


def test_a_full_disk_costs_rows_and_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(tmp_path, range(1, 2))
    size = (tmp_path / "metrics.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        rows(tmp_path, range(2, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    rows(tmp_path, range(4, 5))
    assert steps_in(tmp_path) == [1, 4]
    assert capsys.readouterr().out.count("ALARM: cannot write metrics.jsonl") == 1
