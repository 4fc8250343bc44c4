"""One side of a comparison of loaders, in a process of its own, as its users run it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

FIRST_BATCHES = 2  # taken before anything is counted


class Side:
    """Batches, and the processor time that they cost, loading processes included."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        """Start the process and take the first batches.

        Args:
            make: builds the batches, inside of the process.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make))
        self._process.start()
        theirs.close()
        self.first_seconds: float = self._pipe.recv()  # processor time of this process up to the first batch

    def run(self, count: int) -> None:
        """Take ``count`` batches."""
        self._ask(("run", count))

    def spent(self) -> float:
        """Processor seconds so far, once the loading processes wait with full queues."""
        return self._ask(("spent", 0))

    def resident_megabytes(self) -> float:
        """Resident memory of the process now."""
        return self._ask(("resident", 0))

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=60)

    def _ask(self, command: tuple[str, int]) -> float:
        self._pipe.send(command)
        return self._pipe.recv()


def in_turns(
    ours: Callable[[], Iterator[Any]], peer: Callable[[], Iterator[Any]], *, batches: int, rounds: int
) -> tuple[float, float]:
    """Processor seconds of ``rounds`` x ``batches`` batches of both sides; queues are full before and after."""
    with Side(ours) as first, Side(peer) as second:
        sides = (first, second)
        before = [side.spent() for side in sides]
        for _ in range(rounds):
            for side in sides:
                side.run(batches)
        spent = [side.spent() - began for side, began in zip(sides, before, strict=True)]
    return spent[0], spent[1]


def _serve(pipe: Connection, make: Callable[[], Iterator[Any]]) -> None:
    import torch

    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # for loading processes, as where a shell started this one
    began = time.process_time()
    batches = make()
    next(batches)
    pipe.send(time.process_time() - began)
    for _ in range(FIRST_BATCHES - 1):
        next(batches)
    while True:
        try:
            command, count = pipe.recv()
        except EOFError:  # the other end has been closed
            return
        for _ in range(count):
            next(batches)
        answers = {"run": lambda: 0.0, "spent": _spent, "resident": _resident}
        pipe.send(answers[command]())


def _spent() -> float:
    workers = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    quiet = 0
    while workers and quiet < 3:
        time.sleep(0.1)
        quiet = 0 if any(_fields(worker)[0] in "RD" for worker in workers) else quiet + 1
    ticks = sum(int(each) for worker in workers for each in _fields(worker)[11:13])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _fields(process: int) -> list[str]:
    """State and counters of a process, from the third field of its stat file on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
