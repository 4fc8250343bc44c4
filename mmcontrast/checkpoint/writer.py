"""The checkpoints of one run: taken at a step boundary by all ranks, written by one thread of rank 0.

Taking one is collective: every rank hands in its random state and its part of the weights.  Rank 0 copies them and a
thread writes the copy, so training waits for the copy alone.  What a checkpoint holds is complete before its first
byte is written: no rank can be missing from it.  A failed write is reported at the next boundary and tried again.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from mmcontrast import comm
from mmcontrast.checkpoint import folder as files
from mmcontrast.checkpoint.folder import Clock, Saved, Snapshot
from mmcontrast.checkpoint.retention import drop_old
from mmcontrast.engines.base import Engine
from mmcontrast.errors import CheckpointError
from mmcontrast.randomness import capture_all
from mmcontrast.run import CheckpointConfig

LAST_TRIES = 3  # the checkpoint at the end of a run is tried so often, a second apart, before the run fails


class Checkpoints:
    """When to write, the writing, and what is known of failures."""

    def __init__(self, folder: Path, config: CheckpointConfig, *, say: Callable[[str], None]) -> None:
        """Open the folder.

        Args:
            say: prints one line; what cannot be raised is said.
        """
        self.folder, self.config, self._say = folder, config, say
        self.saved_step: int | None = None  # of the newest checkpoint that was begun
        self.failures = 0
        self._waited = 0.0
        self._since = time.monotonic()
        self._retry_at: float | None = None
        self._pending: Future[Path] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        if comm.rank() == 0:
            files.remove_unfinished(folder)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # the run fails: what is being written is finished, and a failure said
            self.settle()
        self._thread.shutdown(wait=True)

    def resume(self, *, before: int | None = None) -> Saved | None:
        """Return the newest checkpoint that verifies, the same one on every rank; put newer, damaged ones aside.

        Args:
            before: of at most so many updates; newer ones are put aside whether they verify or not.
        """
        self.settle()
        step = b""
        if comm.rank() == 0 and (found := files.newest(self.folder, before=before)) is not None:
            step = str(files.step_of(found)).encode()
        chosen = comm.gather_bytes(step)[0]
        if comm.rank() == 0:
            for path in files.folders(self.folder) if chosen or before is None else []:
                if not chosen or files.step_of(path) > int(chosen):
                    self._say(f"checkpoint '{path}' is put aside as '{files.set_aside(path)}'")
        if not chosen:
            return None
        self.saved_step = int(chosen)
        return files.load(self.folder / files.folder_name(int(chosen)))

    def asks(self) -> bool:
        """Whether this rank wants a checkpoint for a reason that steps do not tell: minutes passed, or a failure."""
        if self._pending is not None and self._pending.done():
            self.settle()
        now = time.monotonic()
        if self._retry_at is not None:
            return now >= self._retry_at
        minutes = self.config.every_minutes
        return comm.rank() == 0 and minutes is not None and now - self._since >= 60 * minutes

    def due(self, step: int) -> bool:
        """Whether the step calls for a checkpoint, on every rank alike."""
        every = self.config.every_steps
        return every is not None and step % every == 0 and step not in (0, self.saved_step)

    def take(self, clock: Clock, engine: Engine, *, loader: dict[str, Any], about: dict[str, Any]) -> None:
        """Copy the run's whole state and begin to write it; every rank must call this.

        Args:
            loader: this rank's counts, of plain containers.
            about: plain JSON that is the same on every rank.
        """
        began = time.monotonic()
        self.settle()  # one at a time: a second copy could not fit
        stream = io.BytesIO()
        torch.save({"random": capture_all(), "loader": loader}, stream)
        ranks = comm.gather_bytes(stream.getvalue())
        model, optimizer = engine.model_state(), engine.training_state()  # copies on rank 0, collected from all ranks
        if comm.rank() == 0:
            loaded = [torch.load(io.BytesIO(each), weights_only=True) for each in ranks]
            snapshot = Snapshot(Clock(**vars(clock)), model, optimizer, loaded, about)
            self._pending = self._thread.submit(self._write, snapshot)
        self.saved_step, self._since, self._retry_at = clock.step, began, None
        self._waited += time.monotonic() - began

    def settle(self) -> None:
        """Wait for the write that is under way; say it when it failed, and note when to try again."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except CheckpointError as error:
            self.failures += 1
            self._retry_at = time.monotonic() + self.config.retry_seconds
            self._say(
                f"ALARM: {error}. Training goes on; earlier checkpoints are untouched; "
                f"next try in {self.config.retry_seconds:g} s."
            )

    def finish(self, clock: Clock, engine: Engine, *, loader: dict[str, Any], about: dict[str, Any]) -> Path:
        """Make sure that the run's last state is on the disk; return its folder.

        Raises:
            CheckpointError: it could not be written, on every rank.
        """
        path = self.folder / files.folder_name(clock.step)
        for _ in range(LAST_TRIES):
            self.settle()
            missing = self.saved_step != clock.step or self._retry_at is not None
            if not comm.any_true(missing)[0]:
                return path
            if self._retry_at is not None:
                time.sleep(1.0)
            self.take(clock, engine, loader=loader, about=about)
        self.settle()
        if comm.any_true(self._retry_at is not None)[0]:
            raise CheckpointError(
                f"the last checkpoint, '{path}', could not be written in {LAST_TRIES} tries. The run goes on from "
                "the one before it: free some space or repair the folder, and start the same command again."
            )
        return path

    def stats(self) -> dict[str, float]:
        """Seconds that training has waited for checkpoints since the last call, and failed writes so far."""
        waited, self._waited = self._waited, 0.0
        return {"checkpoint_wait_seconds": waited, "checkpoint_failures": self.failures}

    def _write(self, snapshot: Snapshot) -> Path:
        path = files.save(self.folder, snapshot)
        drop_old(self.folder, self.config)
        return path
