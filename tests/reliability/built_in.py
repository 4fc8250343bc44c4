"""What goes wrong inside a rank, on request: each function prepares one fault, which strikes at a global batch."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmcontrast.checkpoint import folder as files
from mmcontrast.data.loader import Loaded, Loader
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.types import Embeddings, Terms

LATER = 3  # batches after which a fault that passes has passed


def record(out: Path, rank: int, world_size: int) -> None:
    """Write down the rows of every batch that the training takes."""
    original = Loader.__next__
    stream = (out / f"rows-{rank}.jsonl").open("a", encoding="utf-8", buffering=1)

    def recorded(self: Loader) -> Loaded:
        batch = self._next
        loaded = original(self)
        entry = {"batch": batch, "rank": rank, "world_size": world_size, "keys": loaded.batch.keys}
        stream.write(json.dumps(entry) + "\n")
        return loaded

    Loader.__next__ = recorded  # type: ignore[method-assign]


def before_batch(action: Callable[[int], None]) -> None:
    """Call ``action`` with the number of every batch before it is loaded."""
    original = Loader.__next__

    def acted(self: Loader) -> Loaded:
        action(self._next)
        return original(self)

    Loader.__next__ = acted  # type: ignore[method-assign]


def on_loss(step: int, change: Callable[[torch.Tensor, Any], torch.Tensor]) -> None:
    """Change the loss of the batch ``step``; ``change`` also gets a parameter."""
    now = [-1]
    before_batch(lambda batch: now.__setitem__(0, batch))
    original = InfoNCE.forward

    def changed(self: InfoNCE, emb: Embeddings) -> Terms:
        terms = original(self, emb)
        if now[0] == step:
            return replace(terms, loss=change(terms.loss, next(self.parameters())))
        return terms

    InfoNCE.forward = changed  # type: ignore[method-assign]


def none(step: int, rank: int, out: Path) -> None:
    """Nothing."""


def sigterm(step: int, rank: int, out: Path) -> None:
    """As at preemption."""
    _signal_self(step, signal.SIGTERM)


def sigusr1(step: int, rank: int, out: Path) -> None:
    """As before a time limit."""
    _signal_self(step, signal.SIGUSR1)


def sigint(step: int, rank: int, out: Path) -> None:
    """ctrl-C."""
    _signal_self(step, signal.SIGINT)


def killed(step: int, rank: int, out: Path) -> None:
    """kill -9."""
    _signal_self(step, signal.SIGKILL)


def frozen(step: int, rank: int, out: Path) -> None:
    """The process stops, and its heartbeat with it."""
    _signal_self(step, signal.SIGSTOP)


def _signal_self(step: int, number: signal.Signals) -> None:
    before_batch(lambda batch: os.kill(os.getpid(), number) if batch == step else None)


def hung(step: int, rank: int, out: Path) -> None:
    """The main thread waits for ever."""
    before_batch(lambda batch: time.sleep(600) if batch == step else None)


def failed(step: int, rank: int, out: Path) -> None:
    """An error of our own."""

    def fail(batch: int) -> None:
        if batch == step:
            raise ZeroDivisionError("built in")

    before_batch(fail)


def worker_killed(step: int, rank: int, out: Path) -> None:
    """A loading process is killed, as for memory."""
    _signal_worker(step, signal.SIGKILL)


def worker_frozen(step: int, rank: int, out: Path) -> None:
    """A loading process hangs."""
    _signal_worker(step, signal.SIGSTOP)


def _signal_worker(step: int, number: signal.Signals) -> None:
    def strike(batch: int) -> None:
        if batch == step:
            for worker in multiprocessing.active_children():
                assert worker.pid is not None
                os.kill(worker.pid, number)

    before_batch(strike)


def killed_while_saving(step: int, rank: int, out: Path) -> None:
    """kill -9 at the ``step``-th file operation of the second checkpoint: after a first one is whole."""
    calls, saves = [0], [0]
    save = files.save

    def counted(folder: Path, snapshot: files.Snapshot) -> Path:
        saves[0] += 1
        return save(folder, snapshot)

    def deadly(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls[0] += saves[0] == 2
            if calls[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return call

    files.save = counted
    files.file_sha256 = deadly(files.file_sha256)
    files._sync = deadly(files._sync)
    files.set_aside = deadly(files.set_aside)


def killed_while_resuming(step: int, rank: int, out: Path) -> None:
    """kill -9 after a checkpoint was read, before its first step."""
    original = files.load

    def deadly(path: Path) -> files.Saved:
        original(path)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")

    files.load = deadly


def full_disk(step: int, rank: int, out: Path) -> None:
    """For some batches no file may grow beyond 12 KB: weights do not fit, logs do."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def fill(batch: int) -> None:
        if batch == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, most))
        elif batch == step + LATER:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    before_batch(fill)


def unwritable_folder(step: int, rank: int, out: Path) -> None:
    """For some batches a file stands where the checkpoints should."""
    folder, away = out / "checkpoints", out / "away"

    def block(batch: int) -> None:
        if batch == step:
            away.write_text("in the way")
            _exchange(folder, away)
        elif batch == step + LATER:
            _exchange(folder, away)
            away.unlink()

    before_batch(block)


def _exchange(one: Path, other: Path) -> None:
    """Swap two names at once: between two renames the writer would make the folder anew."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), one)


def heartbeats_deleted(step: int, rank: int, out: Path) -> None:
    """Somebody tidies the run folder up."""
    before_batch(lambda batch: shutil.rmtree(out / "ranks") if batch == step else None)


def clock_jump(step: int, rank: int, out: Path) -> None:
    """The clock is set a day back, then two days on."""
    original, days = time.time, [0.0]

    def jump(batch: int) -> None:
        days[0] = {step: -1.0, step + LATER: 1.0}.get(batch, days[0])

    time.time = lambda: original() + 86_400 * days[0]
    before_batch(jump)


def shard_changed(step: int, rank: int, out: Path) -> None:
    """Shards are written over in place: the same size, other rows at every offset."""

    def change(batch: int) -> None:
        if batch == step:
            for shard in sorted((out.parent / "set").glob("*.tar")):
                content = shard.read_bytes()
                (out.parent / f"{shard.name}.kept").write_bytes(content)
                middle = len(content) // 1024 * 512
                with shard.open("rb+") as stream:
                    stream.write(content[middle:] + content[:middle])

    before_batch(change)


def nan_loss(step: int, rank: int, out: Path) -> None:
    """A loss that is not a number, on this rank alone."""
    on_loss(step, lambda loss, parameter: loss * float("nan"))


def nan_gradient(step: int, rank: int, out: Path) -> None:
    """A sound loss whose gradient is not finite: the root's slope at zero is infinite."""
    on_loss(step, lambda loss, parameter: loss + (parameter - parameter.detach()).abs().sum().sqrt())


def spike(step: int, rank: int, out: Path) -> None:
    """A loss far above the recent ones."""
    on_loss(step, lambda loss, parameter: loss * 1e6)


def nan_then_killed(step: int, rank: int, out: Path) -> None:
    """Batch 3 always gives a loss that is not a number; some batches later, kill -9."""
    nan_loss(3, rank, out)
    killed(step, rank, out)


def always_nan(step: int, rank: int, out: Path) -> None:
    """Batch 3 always gives a loss that is not a number."""
    nan_loss(3, rank, out)


FAULTS: dict[str, Callable[[int, int, Path], None]] = {
    each.__name__: each
    for each in (
        none, sigterm, sigusr1, sigint, killed, frozen, hung, failed, worker_killed, worker_frozen,
        killed_while_saving, killed_while_resuming, full_disk, unwritable_folder, heartbeats_deleted, clock_jump,
        shard_changed, nan_loss, nan_gradient, spike, nan_then_killed, always_nan,
    )
}  # fmt: skip


def build_in(fault: str, *, step: int, rank: int, out: Path) -> None:
    """Prepare a fault of this process by its name."""
    FAULTS[fault](step, rank, out)
