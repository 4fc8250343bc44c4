"""Kills, damage and signals: what is lost, what is missed, and how long ranks take to notice.

``ours`` is what was reached and ``peer`` the bar, for no peer takes the same faults; a ratio above 1 misses the bar.
Runs are of two gloo processes over made-up sets.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.row import Row
from mmcontrast.checkpoint import folder_name, load, newest, verify
from mmcontrast.run import Run
from tests.checkpoint.chain import expected, saved_steps
from tests.checkpoint.damage import FILES, after_kills, flip, truncate
from tests.dist.launched import ended, start_ranks, wait_for_steps
from tests.engines.parity import differences
from tests.fixtures import make_set
from tests.reliability.histories import real, simulated
from tests.reliability.kinds import IN_CI, KINDS, Faults
from tests.small_run import run_of

LIMITS = {"hung_seconds": 6.0, "lost_seconds": 4.0, "beat_seconds": 0.3}  # of the runs' watchdogs


def measure(*, full: bool = False) -> list[Row]:
    """Every fault; ``full`` draws as many as the bars name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {
            "pictures": make_set(folder / "pictures", columns=("image", "text"), rows=32),
            "sounds": make_set(folder / "sounds", columns=("audio", "text"), rows=20),
        }
        rows = survivals(folder / "faults", full=full)
        rows += histories(folder / "histories", 1000 if full else 100, 10 if full else 1)
        rows += parity(folder / "parity") if full else []
        rows += [kills(folder / "kills", 200 if full else 20)]
        rows += [damages(folder / damage.__name__, damage, 400 if full else 100) for damage in (flip, truncate)]
        rows += signals(sets, folder / "signals", 5 if full else 1)
        rows.append(lost(sets, folder / "dead", "dead rank: seconds until the other ends", signal.SIGKILL, 30.0))
        if full:
            bar = LIMITS["lost_seconds"] + 10
            rows.append(
                lost(sets, folder / "frozen", "frozen rank: seconds until the other ends", signal.SIGSTOP, bar)
            )
            rows.append(hung(sets, folder / "hung"))
    return rows


def _row(name: str, reached: float, bar: float, unit: str, setting: str) -> Row:
    ratio = reached / bar if bar else reached
    return Row(name=name, ours=reached, peer=bar, ratio=ratio, unit=unit, setting=setting)


def survivals(folder: Path, *, full: bool) -> list[Row]:
    """Every kind of fault, or those of the test suite: runs whose rows or losses are not those without the fault."""
    faults, names, seeds = Faults(folder), KINDS if full else IN_CI, range(3 if full else 1)
    rows, good = [], 0
    for name in names:
        unlike = 0
        for seed in seeds:
            try:
                problem = faults.survived(name, seed)
            except RuntimeError as error:  # ranks that do not end: named, and the other kinds still run
                problem = str(error)
            if problem is not None:
                print(f"{name}, seed {seed}: {problem}", file=sys.stderr)
            unlike += problem is not None
        good += unlike == 0
        rows.append(_row(f"fault: {name}", unlike, 0, "runs unlike", f"{len(seeds)} of two ranks, a seed each"))
    least = 20 if full else len(IN_CI)
    setting = f"of {len(names)}; rows and losses equal to the last digit"
    total = Row(
        name="kinds of faults survived",
        ours=good,
        peer=least,
        ratio=least / max(good, 1),
        unit="kinds",
        setting=setting,
    )
    return [total, *rows]


def histories(folder: Path, count: int, count_real: int) -> list[Row]:
    """Kills followed by other ranks and workers: histories whose rows differ from those of one run."""
    unlike = real(folder, count_real)
    print("\n".join(unlike), file=sys.stderr)
    return [
        _row(
            "simulated histories of other rows",
            simulated(count),
            0,
            "unlike",
            f"{count} of up to 5 kills, 1 to 8 ranks",
        ),
        _row("real histories of other rows or losses", len(unlike), 0, "unlike", f"{count_real} of 1, 2 and 4 ranks"),
    ]


def parity(folder: Path) -> list[Row]:
    """Largest difference between the gradients of two ranks and of one process, relative to the part's largest."""
    folder.mkdir()
    setting = "two ranks against one process; float32"
    return [
        _row(f"gradient parity: {case}", largest, 1e-6, "relative", setting)
        for case, largest in differences(folder).items()
    ]


def kills(folder: Path, count: int) -> Row:
    """SIGKILL a loop of saves at random moments; count announced checkpoints that are lost or wrong."""
    missing = 0
    for announced, found in after_kills(folder, count):
        if found is None:
            missing += announced > 0
            continue
        saved = load(found)
        right = saved.model["weight"][:32].numpy().tobytes() == expected(saved.clock.step).link
        missing += saved.clock.step < announced or not right
    return _row("killed while saving: announced checkpoints lost", missing, 0, "lost", f"{count} SIGKILLs")


def damages(folder: Path, damage: Callable[[bytes, random.Random], bytes], count: int) -> Row:
    """Damage one file of a checkpoint at a time; count what ``verify`` does not see."""
    saved_steps(folder, 1)
    path, draw, missed = folder / folder_name(1), random.Random(0), 0
    for number in range(count):
        file = path / FILES[number % len(FILES)]
        content = file.read_bytes()
        file.write_bytes(damage(content, draw))
        missed += verify(path) is None
        file.write_bytes(content)
    words = {"flip": "a bit flipped", "truncate": "a file cut short"}[damage.__name__]
    return _row(f"{words} in a checkpoint: not seen by verify", missed, 0, "missed", f"{count} draws over five files")


def _started(sets: dict[str, str], folder: Path, *, fault: str = "none") -> tuple[Run, list[subprocess.Popen[str]]]:
    folder.mkdir(parents=True)
    fields: dict[str, Any] = {"steps": 100_000, "watchdog": LIMITS, "log": {"every_steps": 1, "tensorboard": False}}
    run = run_of(sets, folder / "run", engine={"type": "ddp", "device": "cpu"}, **fields)
    processes = start_ranks(run, 2, folder, fault=fault)
    try:
        wait_for_steps(run, 3, seconds=300)  # a start takes long on a busy machine
    except BaseException:
        for process in processes:
            process.kill()
        raise
    return run, processes


def signals(sets: dict[str, str], folder: Path, count: int) -> list[Row]:
    """SIGUSR1 to one of two ranks: until the last state is on the disk, and until both have ended."""
    durable, gone = [], []
    for number in range(count):
        run, processes = _started(sets, folder / str(number))
        began = time.monotonic()
        os.kill(processes[1].pid, signal.SIGUSR1)
        while not any((run.out / "checkpoints").glob("step-*")) and time.monotonic() - began < 60:
            time.sleep(0.01)
        durable.append(time.monotonic() - began)
        codes = ended(processes, seconds=60)
        gone.append(time.monotonic() - began)
        found = newest(run.out / "checkpoints")
        if codes != [75, 75] or found is None:
            raise RuntimeError(f"the run did not stop as it should: exit codes {codes}, checkpoint {found}")
    setting = f"slowest of {count}; two ranks, SIGUSR1 to one"
    return [
        _row("signal: seconds until the last state is on the disk", max(durable), 10.0, "s", setting),
        _row("signal: seconds until every rank has ended", max(gone), 30.0, "s", setting),  # SLURM's KillWait
    ]


def lost(sets: dict[str, str], folder: Path, name: str, number: signal.Signals, bar: float) -> Row:
    """Kill or stop one of two ranks; how long the other takes to end with its message."""
    _, processes = _started(sets, folder)
    began = time.monotonic()
    os.kill(processes[1].pid, number)
    if number == signal.SIGKILL:
        processes[1].wait()
    try:
        (code,) = ended(processes[:1], seconds=90)
    finally:
        processes[1].kill()
    if code != 76:
        raise RuntimeError(f"the other rank ended with {code} instead of 76")
    return _row(name, time.monotonic() - began, bar, "s", f"two ranks; lost_seconds {LIMITS['lost_seconds']:g}")


def hung(sets: dict[str, str], folder: Path) -> Row:
    """A rank that makes no progress: how long after its timeout both have ended, its stack written."""
    run, processes = _started(sets, folder, fault="stuck")
    began = time.monotonic()
    codes = ended(processes, seconds=90)
    late = time.monotonic() - began - LIMITS["hung_seconds"]
    if codes != [76, 76] or "in faulty" not in (run.out / "ranks/rank-00001.stack").read_text():
        raise RuntimeError(f"the run did not end as it should: exit codes {codes}")
    setting = f"two ranks; hung_seconds {LIMITS['hung_seconds']:g}"
    return _row("hung rank: seconds past its timeout until both end", max(late, 0.0), 10.0, "s", setting)
