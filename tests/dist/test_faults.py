"""A rank that dies, stops, hangs or fails ends the others in bounded time, in one message that names it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.checkpoint import load_model_state, newest
from mmcontrast.errors import RankLost
from mmcontrast.run import Run
from tests.dist.launched import ended, start_ranks, wait_for_steps
from tests.small_run import losses, run_of, tree

QUICK = {"hung_seconds": 6.0, "lost_seconds": 4.0, "beat_seconds": 0.3}


def long_run(sets: dict[str, str], out: Path, **fields: Any) -> Run:
    fields = {"steps": 100_000, "watchdog": QUICK, "log": {"every_steps": 1, "tensorboard": False}, **fields}
    return run_of(sets, out, engine={"type": "ddp", "device": "cpu"}, **fields)


def said(folder: Path) -> list[str]:
    return [(folder / f"rank-{rank}.txt").read_text() for rank in range(2)]


@pytest.mark.parametrize(
    ("number", "words", "seconds"),
    [
        (signal.SIGKILL, "rank 1 (host", 30.0),
        pytest.param(signal.SIGSTOP, "rank 1 (host", QUICK["lost_seconds"] + 10.0, marks=pytest.mark.slow),
    ],
)
def test_a_dead_or_stopped_rank_is_named_once(
    sets: dict[str, str], tmp_path: Path, number: signal.Signals, words: str, seconds: float
) -> None:
    run = long_run(sets, tmp_path / "run")
    processes = start_ranks(run, 2, tmp_path)
    try:
        wait_for_steps(run, 3)
        began = time.monotonic()
        os.kill(processes[1].pid, number)
        if number == signal.SIGKILL:
            processes[1].wait()
        (code,) = ended(processes[:1], seconds=seconds)
        assert time.monotonic() - began < seconds
    finally:
        for process in processes:
            process.kill()
    text = said(tmp_path)[0]
    assert code == RankLost.exit_code, text
    assert text.count(words) == 1 and text.count("error:") == 1 and "Traceback" not in text, text
    assert ("its process ended" if number == signal.SIGKILL else "no heartbeat for") in text


@pytest.mark.slow
def test_a_stuck_rank_is_named_and_its_stack_shown(sets: dict[str, str], tmp_path: Path) -> None:
    run = long_run(sets, tmp_path / "run")
    processes = start_ranks(run, 2, tmp_path, fault="stuck")
    try:
        wait_for_steps(run, 3)
        codes = ended(processes, seconds=QUICK["hung_seconds"] + 10)
    finally:
        for process in processes:
            process.kill()
    texts = said(tmp_path)
    assert codes == [RankLost.exit_code] * 2, texts
    both = "".join(texts)
    assert both.count("error:") == 1 and "rank 1 (host" in both and "in step 3 (data); 1 other ranks wait" in both, (
        both
    )
    stack = (tmp_path / "run/ranks/rank-00001.stack").read_text()
    assert "in faulty" in stack and "launched.py" in stack


def test_a_rank_that_fails_ends_the_others(sets: dict[str, str], tmp_path: Path) -> None:
    processes = start_ranks(long_run(sets, tmp_path / "run"), 2, tmp_path, fault="error")
    codes = ended(processes, seconds=60)
    first, second = said(tmp_path)
    assert codes == [RankLost.exit_code, 1], (first, second)
    assert "rank 1 (host" in first and "its own message says why" in first and "Traceback" not in first
    assert "ZeroDivisionError: built in" in second


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_together_and_the_run_goes_on_bit_for_bit(
    sets: dict[str, str], tmp_path: Path
) -> None:
    fields = {"steps": 30, "watchdog": {}, "checkpoint": {"every_steps": 7}}
    whole, parts = (long_run(sets, tmp_path / name, **fields) for name in ("whole", "parts"))
    (tmp_path / "a").mkdir()
    assert ended(start_ranks(whole, 2, tmp_path / "a"), seconds=120) == [0, 0]
    processes = start_ranks(parts, 2, tmp_path, fault="slow")  # so that the signal comes long before the end
    wait_for_steps(parts, 4)
    began, clock = time.monotonic(), time.time()
    os.kill(processes[1].pid, signal.SIGUSR1)
    assert ended(processes, seconds=60) == [75, 75], said(tmp_path)
    assert time.monotonic() - began < 30  # SLURM ends a job so long after SIGTERM
    stopped = newest(tmp_path / "parts/checkpoints")
    assert stopped is not None and 4 <= int(stopped.name[5:]) < 30
    assert stopped.stat().st_ctime - clock < 10  # when it got its name, all of it on the disk
    assert f"saved to {stopped}; the same command resumes" in said(tmp_path)[0]
    assert ended(start_ranks(parts, 2, tmp_path), seconds=120) == [0, 0], said(tmp_path)
    expected = load_model_state(tmp_path / "whole/checkpoints/step-00000030")
    found = load_model_state(tmp_path / "parts/checkpoints/step-00000030")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_tree_of_the_run_has_dropout(sets: dict[str, str], tmp_path: Path) -> None:
    # Without it the test above would not see a random state that is lost.
    assert tree(sets, tmp_path)["model"]["towers"]["text"]["dropout"] > 0
