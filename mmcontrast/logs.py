"""What a run says: metrics.jsonl, TensorBoard, and a progress line or bar on the console.  Rank 0 alone writes."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mmcontrast import comm

TAIL_BYTES = 1 << 20  # more than any line of metrics.jsonl


class Log:
    """Writes scalars every so many steps and keeps the time of named phases."""

    def __init__(self, folder: Path, *, steps: int, every_steps: int, tensorboard: bool) -> None:
        self._writes = comm.rank() == 0
        self._every, self._steps = every_steps, steps
        self._times: dict[str, float] = {}
        self._since = time.perf_counter()
        self._rows = 0
        self._full = False  # whether the last row could not be written
        self._stream = _opened(folder / "metrics.jsonl") if self._writes else None
        self._board: Any = None
        self._bar: Any = None
        self._task: Any = None
        if self._writes and tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._stream is not None:
            os.close(self._stream)
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """Print one line."""
        if not self._writes:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, flush=True)

    @contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Add the block's seconds to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._times[name] = self._times.get(name, 0.0) + time.perf_counter() - start

    def start(self, step: int) -> None:
        """Begin timing, and show a bar when the console can."""
        self._since = time.perf_counter()
        if self._writes and sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} steps"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar.start()
            self._task = self._bar.add_task("train", total=self._steps, completed=step, note="")

    def tick(self, step: int, rows: int) -> None:
        """Count one finished step."""
        self._rows += rows
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def due(self, step: int) -> bool:
        """Whether this step's scalars are written."""
        return step % self._every == 0 or step == self._steps or step == 1

    def _write(self, stream: int, line: str) -> None:
        """Add a line, whole or not at all; on a full disk training goes on without it, and says so once."""
        content, size = line.encode(), os.fstat(stream).st_size
        try:
            written = os.write(stream, content)
            if written < len(content):
                os.ftruncate(stream, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if not self._full:
                self.say(
                    f"ALARM: cannot write metrics.jsonl: {error.strerror}. Training goes on; its rows are missing."
                )
            self._full = True
        else:
            self._full = False

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one row: ``values``, throughput, and the share of time spent waiting for data since the last row.

        The time of the phase ``evaluation`` is nobody's: neither throughput nor waiting.
        """
        spent = max(time.perf_counter() - self._since - self._times.get("evaluation", 0.0), 1e-9)
        row = {
            "step": step,
            **values,
            "samples_per_second": self._rows / spent,
            "data_wait_fraction": self._times.get("data", 0.0) / spent,
            "seconds_per_step": spent / max(1, round(self._rows / max(values.get("batch_rows", 1), 1))),
        }
        self._since, self._rows, self._times = time.perf_counter(), 0, {}
        if self._stream is not None:
            clean = {name: value if math.isfinite(value) else None for name, value in row.items()}
            self._write(self._stream, json.dumps(clean) + "\n")
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        left = (self._steps - step) * row["seconds_per_step"]
        note = (
            f"loss {row['loss']:.3f}  {row['samples_per_second']:.0f} samples/s  "
            f"data wait {row['data_wait_fraction']:.1%}"
        )
        if self._bar is not None:
            self._bar.update(self._task, note=note)
        else:
            self.say(f"step {step}/{self._steps}  {note}  {left:.0f} s left")


def _opened(path: Path) -> int:
    """Open a file of lines to add to it; a last line that was cut off in writing is removed."""
    stream = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    size = os.fstat(stream).st_size
    tail = os.pread(stream, TAIL_BYTES, max(0, size - TAIL_BYTES))
    os.ftruncate(stream, size - (len(tail) - tail.rfind(b"\n") - 1))
    return stream
