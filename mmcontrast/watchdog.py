"""A heartbeat of every rank, and a thread that ends a run in which one of them is dead, stopped or stuck.

Each rank keeps one small file under ``RUN/ranks/`` that its thread rewrites every few seconds: a counter, and where
the main thread is.  Each thread watches the next rank's file.  Whoever finds a rank lost writes the verdict, which
exists once, says it in one message and ends; the others see the verdict and end too.  A rank whose main thread makes
no progress is found by its own thread; the ranks that are furthest behind are then named.  Stacks go to
``RUN/ranks/*.stack``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from mmcontrast import comm
from mmcontrast.config import Positive, config
from mmcontrast.errors import RankLost

BEAT_BYTES = 512  # a heartbeat file is rewritten in place: padded to one size, it is never seen half old
VERDICT = "verdict"


@config
class WatchdogConfig:
    """When a rank counts as lost.  Times are of real clocks, in seconds."""

    hung_seconds: Positive = 480.0  # no progress of a rank for so long ends the run; less than engine.timeout_seconds
    lost_seconds: Positive = 20.0  # a rank whose heartbeat has not moved for so long is lost
    beat_seconds: Positive = 2.0  # between heartbeats


@dataclass
class Beat:
    """What a rank says of itself."""

    count: int = 0
    step: int = 0
    place: str = "start"  # what the main thread is doing
    moves: int = 0  # changes of place so far: how far the main thread has come
    state: str = "runs"  # runs | failed | done
    host: str = ""
    pid: int = 0
    born: str = ""  # the kernel's start time of the process: a pid alone may be given again


class Watchdog:
    """Keeps this rank's heartbeat and watches the next one's.

    Raises:
        RankLost: from the ``with`` block, when a collective failed because another rank is gone.
    """

    def __init__(self, folder: Path, config: WatchdogConfig) -> None:
        self.folder, self.config = folder, config
        self.rank, self.world_size = comm.rank(), comm.world_size()
        pid = os.getpid()
        self.beat = Beat(host=socket.gethostname(), pid=pid, born=_born(pid) or "")
        self._moved = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._neighbour = _Neighbour()

    def __enter__(self) -> Watchdog:
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in [*self.folder.glob("rank-*"), *self.folder.glob(f"{VERDICT}*")]:
                old.unlink(missing_ok=True)
        comm.barrier()
        self._stacks = self._path(self.rank, "stack").open("w", encoding="utf-8")
        self._write()
        comm.barrier()
        self._moved = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        try:
            if error is not None and self.world_size > 1 and comm.is_lost_connection(error):
                self._explain(error)
        finally:
            together = kind is None or getattr(error, "on_every_rank", False)
            self.beat.state = "done" if together else "failed"
            self._write()
            self._stacks.close()

    @contextmanager
    def at(self, place: str, *, step: int) -> Iterator[None]:
        """Say what the main thread is doing in the block; entering and leaving are progress."""
        self.beat.step, self.beat.place = step, place
        self._move()
        yield  # a block that fails is no progress
        self.beat.place = f"after {place}"
        self._move()

    def _move(self) -> None:
        self.beat.moves += 1
        self._moved = time.monotonic()

    # ------------------------------------------------------------------ thread

    def _watch(self) -> None:
        while not self._end.wait(self.config.beat_seconds):
            self.beat.count += 1
            self._write()
            # The C library's timer fires even when a stuck call holds the interpreter, and this thread with it.
            faulthandler.dump_traceback_later(self.config.lost_seconds, file=self._stacks)
            if (self.folder / VERDICT).exists():
                self._leave(None)
            lost = self._lost_neighbour()
            if lost is None and time.monotonic() - self._moved > self.config.hung_seconds:
                lost = self._stuck()
            if lost is not None:
                self._leave(lost)

    def _leave(self, message: str | None) -> None:
        """Dump stacks, say the message if this rank is the first to have one, and end the process."""
        faulthandler.cancel_dump_traceback_later()
        faulthandler.dump_traceback(file=self._stacks, all_threads=True)
        if message is not None and self._first(message):
            print(f"error: {message}", file=sys.stderr, flush=True)
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(RankLost.exit_code)

    def _lost_neighbour(self) -> str | None:
        """Return the message when the next rank is gone."""
        if self.world_size == 1:
            return None
        other = (self.rank + 1) % self.world_size
        return self._lost(other)

    def _lost(self, other: int) -> str | None:
        beat = self._read(other)
        if beat is None or beat.state == "done":
            return None
        who = f"rank {other} (host {beat.host}, pid {beat.pid})"
        where = f"in step {beat.step} ({beat.place})"
        if beat.state == "failed":
            return f"{who} failed {where}; its own message says why. {self._advice()}"
        if beat.host == self.beat.host and _born(beat.pid) != beat.born:
            return f"{who} is gone: its process ended {where}. {self._advice()}"
        silent = self._neighbour.silence(other, beat)
        if silent > self.config.lost_seconds:
            return f"{who} is lost: no heartbeat for {silent:.0f} s, the last one {where}. {self._advice()}"
        return None

    def _stuck(self) -> str:
        """Return the message about the ranks that are furthest behind."""
        beats = {rank: beat for rank in range(self.world_size) if (beat := self._read(rank)) is not None}
        least = min(beat.moves for beat in beats.values())
        behind = {rank: beat for rank, beat in beats.items() if beat.moves == least}
        named = ", ".join(
            f"rank {rank} (host {beat.host}, pid {beat.pid}) in step {beat.step} ({beat.place})"
            for rank, beat in list(behind.items())[:4]
        )
        more = f" and {len(behind) - 4} more" if len(behind) > 4 else ""
        return (
            f"no progress for {time.monotonic() - self._moved:.0f} s: {named}{more}; "
            f"{len(beats) - len(behind)} other ranks wait. {self._advice()}"
        )

    def _advice(self) -> str:
        return (
            f"All ranks end; stacks are in '{self.folder}'. The same command goes on from the newest checkpoint "
            f"(exit code {RankLost.exit_code})."
        )

    def _explain(self, error: BaseException) -> None:
        """A collective failed: find the rank that is to blame, within the time that losing it takes.

        Raises:
            RankLost: another rank is gone, and this one is the first to say so.
        """
        limit = time.monotonic() + self.config.lost_seconds + 2 * self.config.beat_seconds
        while time.monotonic() < limit:
            for other in range(self.world_size):
                if other != self.rank and (message := self._lost(other)) is not None:
                    self._blame(message, error)
            if (self.folder / VERDICT).exists():
                raise SystemExit(RankLost.exit_code) from error
            time.sleep(0.2)
            self.beat.count += 1
            self._write()
        self._blame(self._stuck(), error)  # all are there: the collective's own timeout came first

    def _blame(self, message: str, error: BaseException) -> NoReturn:
        if self._first(message):
            raise RankLost(message) from error
        raise SystemExit(RankLost.exit_code) from error

    # ------------------------------------------------------------------- files

    def _path(self, rank: int, kind: str) -> Path:
        return self.folder / f"rank-{rank:05d}.{kind}"

    def _write(self) -> None:
        content = json.dumps(asdict(self.beat)).encode().ljust(BEAT_BYTES)
        try:
            descriptor = os.open(self._path(self.rank, "beat"), os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, content, 0)
            finally:
                os.close(descriptor)
        except OSError as error:  # a full disk must not end the run: it only blinds the watch
            if self.beat.count % 100 == 1:
                print(f"watchdog: cannot write the heartbeat of rank {self.rank}: {error}", file=sys.stderr)

    def _read(self, rank: int) -> Beat | None:
        try:
            return Beat(**json.loads(self._path(rank, "beat").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _first(self, message: str) -> bool:
        """Write the verdict; False when another rank has done so."""
        try:
            with (self.folder / VERDICT).open("x", encoding="utf-8") as stream:
                stream.write(message + "\n")
        except FileExistsError:
            return False
        except OSError:
            return True  # it cannot be written; better said twice than never
        return True


class _Neighbour:
    """When a rank's counter was last seen to move, by this process's own clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def silence(self, rank: int, beat: Beat) -> float:
        now = time.monotonic()
        count, since = self._seen.get(rank, (-1, now))
        if beat.count != count:
            self._seen[rank] = (beat.count, now)
            return 0.0
        return now - since


def _born(pid: int) -> str | None:
    """Start time of a process of this host, or None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
