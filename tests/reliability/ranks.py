"""Ranks of a training run as forks of one prepared process, with faults built in; and what a run did, step by step."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from mmcontrast.config import dump
from mmcontrast.run import Run
from tests.ports import free_port

# A server that has imported all of it: a rank starts in milliseconds, and no rank inherits another one's threads.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["tests.reliability.built_in", "mmcontrast.train", "torch._dynamo", "safetensors.torch", "mmcontrast.engines.ddp"]
)


@dataclass(frozen=True)
class Start:
    """One start of a run: what is built in, and how its ranks end."""

    fault: str = "none"  # name of a function of built_in.py
    step: int = 0  # at which it strikes
    at: str = "last"  # ranks that have it: first, last, all
    world_size: int = 2
    only: int | None = None  # start just this rank


@dataclass(frozen=True)
class Ended:
    """How the ranks of a start ended, and all that they said."""

    codes: list[int]
    text: str


def run_ranks(run: Run, start: Start, *, port: int | None = None, seconds: float = 300) -> Ended:
    """Start every rank and wait for all; ranks that are stopped for good are killed once the others have ended.

    Raises:
        RuntimeError: a rank still runs when the time is up; with all that the ranks said, and the stacks of each.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    config = run.out.with_suffix(".yaml")
    config.write_text(dump(run))
    port = port or free_port()
    ranks = range(start.world_size) if start.only is None else [start.only]
    said = [run.out.with_suffix(f".rank-{rank}.txt") for rank in ranks]
    processes = []
    for rank, text in zip(ranks, said, strict=True):
        struck = {"first": rank == 0, "last": rank == start.world_size - 1, "all": True}[start.at]
        fault = start.fault if struck else "none"
        arguments = (rank, start.world_size, port, str(config), str(run.out), str(text), fault, start.step)
        processes.append(SERVER.Process(target=_rank, args=arguments))
    for process in processes:
        process.start()
    limit = time.monotonic() + seconds
    try:
        while waiting := [process for process in processes if process.exitcode is None]:
            if all(_stopped(process) for process in waiting):
                break
            if time.monotonic() > limit:
                for process in waiting:
                    os.kill(process.pid or 0, signal.SIGABRT)  # faulthandler writes the stacks of its threads
                    process.join(10)
                ends = "\n".join(f"rank {rank}:\n{text.read_text()}" for rank, text in zip(ranks, said, strict=True))
                raise RuntimeError(f"{start}: {len(waiting)} rank(s) still ran after {seconds:g} s\n{ends}")
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.join()
    return Ended([process.exitcode or 0 for process in processes], "".join(each.read_text() for each in said))


def _stopped(process: BaseProcess) -> bool:
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def _rank(
    rank: int, world_size: int, port: int, config: str, out: str, text: str, fault: str, step: int
) -> None:  # pragma: no cover: in another process
    stream = os.open(text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    faulthandler.enable(stream)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    multiprocessing.set_start_method("fork", force=True)  # of loading processes: what a rank's own start would have
    import torch

    from mmcontrast import cli
    from tests.reliability import built_in

    torch.set_num_threads(1)
    built_in.record(Path(out), rank, world_size)
    built_in.build_in(fault, step=step, rank=rank, out=Path(out))
    sys.argv = ["mmcontrast", "train", config]
    cli.command()


@dataclass(frozen=True)
class Done:
    """What a run did: the rows of each global batch, and the loss of each step as its exact digits."""

    rows: dict[int, list[str]]
    losses: dict[int, str]


def done(run: Run) -> Done:
    """Read a run's record.

    Raises:
        RuntimeError: a batch was loaded twice with other rows.
    """
    shares: dict[int, dict[tuple[int, int], list[str]]] = {}  # batch -> (world size, rank) -> keys
    for path in sorted(run.out.glob("rows-*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            place = (entry["world_size"], entry["rank"])
            if shares.setdefault(entry["batch"], {}).setdefault(place, entry["keys"]) != entry["keys"]:
                raise RuntimeError(f"batch {entry['batch']} had other rows on rank {place[1]} after a restart")
    rows = {}
    for batch, parts in sorted(shares.items()):
        wholes = [
            [key for rank in range(world_size) for key in parts[world_size, rank]]
            for world_size in sorted({each for each, _ in parts})
            if all((world_size, rank) in parts for rank in range(world_size))
        ]
        if not wholes or any(whole != wholes[0] for whole in wholes):
            raise RuntimeError(f"batch {batch}: {len(wholes)} numbers of ranks read it, not all of them the same rows")
        rows[batch] = wholes[0]
    return Done(rows, losses(run))


def losses(run: Run) -> dict[int, str]:
    """Loss by step; of a step that was made twice, the later one."""
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: repr(line["loss"]) for line in lines}


def difference(found: Done, expected: Done) -> str | None:
    """The first step at which a run is not the other, bit for bit."""
    for what in ("rows", "losses"):
        mine: dict[int, object] = getattr(found, what)
        theirs: dict[int, object] = getattr(expected, what)
        if mine.keys() != theirs.keys():
            return f"{what}: steps {sorted(mine.keys() ^ theirs.keys())} are in one run only"
        for step, value in theirs.items():
            if mine[step] != value:
                return f"{what} of step {step}: {mine[step]} instead of {value}"
    return None


def in_words(codes: Sequence[int]) -> str:
    """Exit codes, signals by name."""
    return ", ".join(signal.Signals(-code).name if code < 0 else str(code) for code in codes)
