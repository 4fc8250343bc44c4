"""Kinds of faults that a run must survive: after them, its rows and losses are those of a run that had none.

Each kind is a row of :data:`KINDS`: how the run is started, how often, and what happens to its files in between.
"""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmcontrast.checkpoint.folder import folders
from mmcontrast.data.indexing import index_set
from mmcontrast.run import Run
from mmcontrast.watchdog import WatchdogConfig
from tests.checkpoint.damage import flip, truncate
from tests.fixtures import make_set
from tests.ports import free_port
from tests.reliability.ranks import Done, Ended, Start, difference, done, in_words, run_ranks
from tests.small_run import run_of, tree

STEPS, EVERY = 11, 3  # of a run, and between its checkpoints
QUICK = {"hung_seconds": 6.0, "lost_seconds": 4.0, "beat_seconds": 0.3}
WHOLE = "none"
Hook = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Stage:
    """One start, what is expected of it, and what is done to the run's files after it."""

    fault: str
    codes: tuple[int, ...]  # exit codes that its ranks may have, the first at least once; negative: a signal
    at: str = "last"
    says: str = ""  # words that a rank must say
    then: Hook | None = None
    only: int | None = None
    port_in_use: bool = False
    quick: bool = False  # whether the watchdog waits for seconds only


@dataclass(frozen=True)
class Kind:
    """A fault, and the run it happens to; a start without any fault follows the last stage."""

    stages: tuple[Stage, ...]
    fields: dict[str, Any] = field(default_factory=dict)  # of the run
    damaged: bool = False  # whether one picture's bytes are wrong from the beginning
    beside: str = WHOLE  # built into the run that nobody interrupts
    workers: int = 0  # loading processes a rank
    steps: tuple[int, int] = (4, 7)  # first and last batch at which it may strike


def damage_newest(path: Path, draw: random.Random, *, change: Callable[[bytes, random.Random], bytes] | None) -> None:
    """Change one file of the newest checkpoint, or delete it."""
    file = draw.choice(sorted(folders(path / "checkpoints")[-1].iterdir()))
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes(), draw))


def leave_remains(path: Path, draw: random.Random) -> None:
    """What writers that were killed leave, and a folder that only looks like a newer checkpoint."""
    newest = folders(path / "checkpoints")[-1]
    shutil.copytree(newest, path / "checkpoints/.writing-step-00000099-1")
    (path / "checkpoints/step-00000099").mkdir()


def cut_logs(path: Path, draw: random.Random) -> None:
    """The last line of the metrics ends in its middle."""
    file = path / "metrics.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[: content.rstrip().rfind(b"\n") + draw.randrange(2, 40)])


def take_a_shard(path: Path, draw: random.Random) -> None:
    """A shard is not there."""
    shard = path.parent / "set/set-000001.tar"
    shard.rename(path.parent / "set-000001.tar.kept")


def put_shards_back(path: Path, draw: random.Random) -> None:
    """The shards are as they were."""
    for kept in path.parent.glob("*.tar.kept"):
        kept.rename(path.parent / "set" / kept.name.removesuffix(".kept"))


LOST = (-9, 76)  # killed, and the others' code for a lost rank
SAVED = (75,)
AGAIN = Stage("killed", LOST, at="all")  # all ranks are killed
NAN_SKIPPED = {"guard": {"on_nonfinite": "skip"}}
NAN_ROLLED_BACK = {"guard": {"on_nonfinite": "rollback"}}


def zero(stage: int) -> dict[str, Any]:
    """DeepSpeed's engine, with even the smallest weights shared at stage 3."""
    return {"type": "deepspeed", "device": "cpu", "stage": stage, "persist_elements": 0}


KINDS: dict[str, Kind] = {
    "SIGTERM to one rank": Kind((Stage("sigterm", SAVED, says="the same command resumes"),)),
    "SIGUSR1 to one rank": Kind((Stage("sigusr1", SAVED, says="the same command resumes"),)),
    "ctrl-C": Kind((Stage("sigint", (130,), at="all", says="the same command resumes"),)),
    "one rank killed": Kind((Stage("killed", LOST, says="rank 1 (host"),)),
    "all ranks killed": Kind((AGAIN,)),
    "killed while saving": Kind((Stage("killed_while_saving", LOST, at="first"),), steps=(1, 12)),
    "killed while resuming": Kind((AGAIN, Stage("killed_while_resuming", LOST))),
    "one rank frozen": Kind((Stage("frozen", LOST, says="no heartbeat for", quick=True),)),
    "one rank hung": Kind((Stage("hung", (76,), says="no progress for", quick=True),)),
    "one rank fails": Kind((Stage("failed", (1, 76), says="its own message says why"),)),
    "loader worker killed": Kind((Stage("worker_killed", (76,), says="a loader worker is lost"),), workers=1),
    "loader worker frozen": Kind((Stage("worker_frozen", (76,), says="(data)", quick=True),), workers=1, steps=(2, 3)),
    "newest checkpoint cut short": Kind(
        (
            Stage("sigterm", SAVED, then=partial(damage_newest, change=truncate)),
            Stage("none", (0,), says="put aside"),
        )
    ),
    "newest checkpoint flipped": Kind(
        (Stage("sigterm", SAVED, then=partial(damage_newest, change=flip)), Stage("none", (0,), says="put aside"))
    ),
    "file of newest checkpoint missing": Kind(
        (Stage("sigterm", SAVED, then=partial(damage_newest, change=None)), Stage("none", (0,), says="put aside"))
    ),
    "remains of other writers": Kind((Stage("killed", LOST, then=leave_remains),)),
    "full disk": Kind((Stage("full_disk", (0,), at="first", says="ALARM: cannot write checkpoint"),)),
    "checkpoints unwritable": Kind((Stage("unwritable_folder", (0,), at="first", says="ALARM: cannot write"),)),
    "log cut in a line": Kind((Stage("killed", LOST, then=cut_logs),), steps=(4, 5)),  # before the next checkpoint
    "heartbeats deleted": Kind((Stage("heartbeats_deleted", (0,), at="first"),)),
    "clock set back and forth": Kind((Stage("clock_jump", (0,)),)),
    "shard vanished": Kind(
        (
            Stage("killed", LOST, then=take_a_shard),
            Stage("none", (2, 76), says="set-000001.tar", then=put_shards_back),
        ),
        {"data.storage": {"retries": 0}},
    ),
    "shard written over": Kind(
        (Stage("shard_changed", (2, 76), says="has changed since", then=put_shards_back),),
        {"data.storage": {"retries": 0}},
    ),
    "row damaged, then killed": Kind((Stage("killed", LOST, says="quarantined"),), damaged=True),
    "loss not a number": Kind((Stage("nan_loss", (2,), says="loss nan"),)),
    "gradient not finite": Kind((Stage("nan_gradient", (2,), says="gradient norm nan"),)),
    "loss spike": Kind(
        (Stage("spike", (2,), at="all", says="deviations above the median"),),
        {"guard": {"on_spike": "raise", "spike_deviations": 1e4, "window_steps": 10}},
    ),
    "skipped step, then killed": Kind((Stage("nan_then_killed", LOST),), NAN_SKIPPED, beside="always_nan"),
    "rollback, then killed": Kind((Stage("nan_then_killed", LOST),), NAN_ROLLED_BACK, beside="always_nan"),
    "port in use": Kind((Stage("none", (2,), says="did not meet the others", port_in_use=True),)),
    **{
        f"one rank killed under ZeRO {stage}": Kind(
            (Stage("killed", LOST, says="rank 1 (host"),), {"engine": zero(stage)}
        )
        for stage in (1, 2, 3)
    },
    "rank never started": Kind((Stage("none", (2,), says="did not meet the others", only=0),)),
}
IN_CI = (
    "SIGUSR1 to one rank", "one rank killed", "killed while saving", "loader worker killed",
    "newest checkpoint flipped", "full disk", "shard written over", "rollback, then killed",
)  # fmt: skip


class Faults:
    """Runs each kind in a folder; runs that nobody interrupts are made once for all kinds that compare with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wholes: dict[str, Done] = {}

    def survived(self, name: str, seed: int) -> str | None:
        """Let one kind happen, and resume; return what is not as it should be.

        Args:
            seed: of the run, and of where the fault strikes.
        """
        kind, draw = KINDS[name], random.Random(f"{name} {seed}")
        home = self.folder / f"{name} {seed}".replace(" ", "-")
        run = self._run(kind, home, seed)
        for stage in kind.stages:
            ended = self._start(run, stage, step=draw.randint(*kind.steps))
            problem = _problem(stage, ended)
            if problem is not None:
                return problem
            if stage.then is not None:
                stage.then(run.out, draw)
        ended = run_ranks(run, Start(kind.beside))
        if set(ended.codes) != {0}:
            return f"the last start ended with {in_words(ended.codes)}: {ended.text[-600:]}"
        found = difference(done(run), self._whole(kind, seed))
        if found is None:
            shutil.rmtree(home)
        return found

    def _run(self, kind: Kind, home: Path, seed: int) -> Run:
        manifest = make_set(home / "set", columns=("image", "text"), rows=24)
        if kind.damaged:
            index_set(manifest)
            shard = home / "set/set-000000.tar"
            content = bytearray(shard.read_bytes())
            content[content.index(b"IDAT") + 6] ^= 1
            shard.write_bytes(content)
        fields = {name: value for name, value in kind.fields.items() if "." not in name}
        built = tree({"pictures": manifest, "sounds": manifest}, home, **fields)
        del built["model"]["towers"]["audio"], built["data"]["sources"]["sounds"]
        storage = {"storage": kind.fields["data.storage"]} if "data.storage" in kind.fields else {}
        data = {**built["data"], "batch_rows": 8, "workers": kind.workers, **storage}
        return run_of(
            {"pictures": manifest, "sounds": manifest},
            home / "run",
            steps=STEPS,
            model=built["model"],
            data=data,
            objectives={"main": {"type": "infonce", "pairs": [["image", "text"]]}},
            engine=kind.fields.get("engine", {"type": "ddp", "device": "cpu"}),
            watchdog={"beat_seconds": 0.3},
            checkpoint={"every_steps": EVERY, "keep": 9, "retry_seconds": 0.01},
            log={"every_steps": 1, "tensorboard": False},
            seed=seed,
            **({"guard": kind.fields["guard"]} if "guard" in kind.fields else {}),
        )

    def _start(self, run: Run, stage: Stage, *, step: int) -> Ended:
        start = Start(stage.fault, step, at=stage.at, only=stage.only)
        meets = not stage.port_in_use and stage.only is None
        if not meets:  # that is said after the engine's limit
            run = replace(run, engine=replace(run.engine, timeout_seconds=10.0, meet_seconds=10.0))
        if stage.quick or not meets:
            run = replace(run, watchdog=WatchdogConfig(**QUICK))
        if not stage.port_in_use:
            return run_ranks(run, start)
        port = free_port()
        with socket.socket() as other:
            other.bind(("", port))
            other.listen()
            return run_ranks(run, start, port=port)

    def _whole(self, kind: Kind, seed: int) -> Done:
        """The run that nobody interrupts."""
        what = f"whole {seed} {kind.beside} {kind.damaged} {kind.fields.get('guard')} {kind.fields.get('engine')}"
        if what not in self._wholes:
            home = self.folder / f"whole-{len(self._wholes)}"
            run = self._run(kind, home, seed)
            ended = run_ranks(run, Start(kind.beside))
            if set(ended.codes) != {0}:
                raise RuntimeError(f"the run without interruption ended with {in_words(ended.codes)}: {ended.text}")
            self._wholes[what] = done(run)
        return self._wholes[what]


def _problem(stage: Stage, ended: Ended) -> str | None:
    if not set(ended.codes) <= set(stage.codes) or stage.codes[0] not in ended.codes:
        codes = f"{in_words(ended.codes)} instead of {in_words(stage.codes)}"
        return f"{stage.fault}: exit codes {codes}: {ended.text[-900:]}"
    if stage.says not in ended.text:
        return f"{stage.fault}: nobody says '{stage.says}': {ended.text[-900:]}"
    if "Traceback" in ended.text and 1 not in stage.codes:
        return f"{stage.fault}: a traceback: {ended.text[-900:]}"
    return None
