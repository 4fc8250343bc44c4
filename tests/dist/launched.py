"""Ranks of a training run as processes of their own, as a launcher starts them; with faults built in on request."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mmcontrast.config import dump
from mmcontrast.run import Run
from tests.ports import free_port
from tests.small_run import losses

FAULT_STEP = 3


def start_ranks(run: Run, world_size: int, folder: Path, *, fault: str = "none") -> list[subprocess.Popen[str]]:
    """Start ``mmcontrast train`` once a rank; stdout and stderr go to ``folder/rank-N.txt``.

    Args:
        fault: what happens to the last rank: none, stuck or error at its step 3, slow at every step.
    """
    config = folder / "config.yaml"
    config.write_text(dump(run))
    port = free_port()
    processes = []
    for rank in range(world_size):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        mine = fault if rank == world_size - 1 else "none"
        with (folder / f"rank-{rank}.txt").open("w") as stream:
            command = [sys.executable, "-m", "tests.dist.launched", mine, "train", str(config)]
            processes.append(
                subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, text=True)
            )
    return processes


def wait_for_steps(run: Run, steps: int, *, seconds: float = 90) -> None:
    """Wait until the run has written metrics of that many steps."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if (run.out / "metrics.jsonl").is_file() and max(losses(run.out), default=0) >= steps:
            return
        time.sleep(0.1)
    raise AssertionError(f"no step {steps} within {seconds} s")


def ended(processes: list[subprocess.Popen[str]], *, seconds: float) -> list[int]:
    """Exit codes of the processes, which must end within the time."""
    limit = time.monotonic() + seconds
    try:
        return [process.wait(timeout=max(0.1, limit - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _build_in(fault: str) -> None:
    from mmcontrast.data.handover import Loaded
    from mmcontrast.data.loader import Loader

    original = Loader.__next__

    def faulty(self: Loader) -> Loaded:
        if fault == "slow":
            time.sleep(0.1)
        elif self._next == FAULT_STEP:
            if fault == "error":
                raise ZeroDivisionError("built in")
            time.sleep(600)
        return original(self)

    if fault != "none":
        Loader.__next__ = faulty  # type: ignore[method-assign]


if __name__ == "__main__":
    from mmcontrast.cli import main

    _build_in(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
