"""What happens to checkpoints: bytes that change, files that end early, processes that are killed while they save."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from mmcontrast.checkpoint import newest
from tests.checkpoint.chain import Chain, opened, take

FILES = ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "ranks.pt", "state.json"]


def flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def save_for_ever(folder: Path, log: Path) -> None:
    """Resume the chain and save it at every step; announce each one that is on the disk."""
    chain = Chain()
    with opened(folder, keep=3) as checkpoints, log.open("a", buffering=1) as announced:
        chain.resume(checkpoints)
        while True:
            chain.advance()
            take(checkpoints, chain)
            checkpoints.settle()
            announced.write(f"{chain.clock.step}\n")


def after_kills(folder: Path, count: int) -> Iterator[tuple[int, Path | None]]:
    """Kill :func:`save_for_ever` at random moments; each time, the last announced step and the newest checkpoint."""
    draw, log, checkpoints = random.Random(0), folder / "announced", folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    log.touch()
    fork = multiprocessing.get_context("fork")  # a start takes milliseconds: the kills hit saves, not imports
    for _ in range(count):
        process = fork.Process(target=save_for_ever, args=(checkpoints, log))
        process.start()
        assert process.pid is not None
        time.sleep(draw.uniform(0.02, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        whole_lines = log.read_text().rpartition("\n")[0].split()
        yield int(whole_lines[-1]) if whole_lines else 0, newest(checkpoints)
