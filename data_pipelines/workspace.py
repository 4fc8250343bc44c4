"""The folder of one job: what it was asked, which numbered tasks are done, and files that appear whole or not at all.

``OUT/`` receives the result; ``OUT/job/`` holds ``job.json`` (the job's identity), one folder a step with one
``000000.done`` marker a finished task, and whatever a step passes to the next one.  A marker is written last and
names the task's files with their sizes, so that a job killed at any moment goes on with the tasks that lack one.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mmcontrast.errors import ConfigError

JOB_FOLDER = "job"


@dataclass(frozen=True, kw_only=True)
class Done:
    """What one task leaves in its marker."""

    files: tuple[Path, ...] = ()  # inside the job's folder
    counts: dict[str, int] = field(default_factory=dict)  # added up over tasks in the report
    facts: dict[str, Any] = field(default_factory=dict)  # anything else that JSON holds, for later steps


class Workspace:
    """Paths, markers and atomic writes of one job folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / JOB_FOLDER

    def step_file(self, step: str, name: str) -> Path:
        """Path of a file that ``step`` passes on."""
        return self.work / step / name

    def marker(self, step: str, task: int) -> Path:
        """Path of a task's marker."""
        return self.work / step / f"{task:06d}.done"

    def is_done(self, step: str, task: int) -> bool:
        """Whether the task's marker stands and its files have the sizes that it names."""
        path = self.marker(step, task)
        if not path.is_file():
            return False
        sizes = json.loads(path.read_text(encoding="utf-8"))["files"]
        return all(
            (self.folder / name).is_file() and (self.folder / name).stat().st_size == size
            for name, size in sizes.items()
        )

    def read_marker(self, step: str, task: int) -> dict[str, Any]:
        """Return ``{"files", "counts", "facts", "seconds"}`` of a finished task."""
        result: dict[str, Any] = json.loads(self.marker(step, task).read_text(encoding="utf-8"))
        return result

    def markers(self, step: str) -> list[dict[str, Any]]:
        """Every marker of a step, in task order."""
        paths = sorted((self.work / step).glob("*.done"), key=lambda path: int(path.stem))
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def mark(self, step: str, task: int, done: Done, *, seconds: float) -> None:
        """Write a task's marker: from here on the task is done."""
        sizes = {str(path.relative_to(self.folder)): path.stat().st_size for path in done.files}
        marker = {"files": sizes, "counts": done.counts, "facts": done.facts, "seconds": round(seconds, 3)}
        with self.writing(self.marker(step, task)) as stream:
            stream.write(json.dumps(marker, ensure_ascii=False).encode("utf-8"))

    @contextmanager
    def writing(self, path: Path) -> Iterator[IO[bytes]]:
        """Open ``path`` for writing under another name; it takes its own name once whole and on the disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)

    def write_json(self, path: Path, value: Any) -> Path:
        """Write one JSON file, whole or not at all."""
        with self.writing(path) as stream:
            stream.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
        return path

    def write_rows(self, path: Path, rows: list[dict[str, Any]]) -> Path:
        """Write one JSON object a line, whole or not at all."""
        with self.writing(path) as stream:
            for row in rows:
                stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))
        return path

    def claim(self, identity: dict[str, Any]) -> None:
        """Make the folder this job's, or recognise it.

        A folder in which no task was ever done takes another identity: a mistake in the settings can be corrected.
        Members of an array come here at once: whoever is first makes the file whole, and the others compare with it.

        Raises:
            ConfigError: the folder holds another job, the same job with other settings or inputs, or other files.
        """
        path = self.work / "job.json"
        if path.is_file():
            known = read_identity(self.folder)
            differing = sorted(_differences(known, identity))
            if differing and not any(self.work.glob("*/*.done")):
                self._write_identity(path, identity)
            elif differing:
                raise ConfigError(
                    f"'{self.folder}' holds a job with another {', '.join(differing)}. "
                    "Give out= another folder, or delete this one."
                )
            return
        if self.folder.is_dir() and any(each.name != JOB_FOLDER for each in self.folder.iterdir()):
            raise ConfigError(f"'{self.folder}' holds files that no job made. Give out= a new or an empty folder.")
        try:
            self._write_identity(path, identity)
        except OSError as error:
            raise ConfigError(f"cannot write into '{self.folder}': {error}") from error

    def _write_identity(self, path: Path, identity: dict[str, Any]) -> None:
        member = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
        scratch = path.with_name(f"job.{member}.json")
        self.write_json(scratch, identity)
        os.replace(scratch, path)

    @contextmanager
    def lock(self, share: str) -> Iterator[None]:
        """Hold one share of the job, so that no second process works on it.

        Raises:
            ConfigError: another process holds it.
        """
        path = self.work / f"share-{share}.lock"
        with path.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(f"another process is working on share {share} of '{self.folder}'.") from error
            yield


def read_identity(folder: Path) -> dict[str, Any]:
    """Read what a job folder was asked to do: ``{"job", "config", "inputs"}``.

    Raises:
        ConfigError: no job is there.
    """
    path = folder / JOB_FOLDER / "job.json"
    if not path.is_file():
        raise ConfigError(f"no job in '{folder}': it has no {JOB_FOLDER}/job.json.")
    identity: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return identity


def _differences(known: Any, asked: Any, path: str = "") -> Iterator[str]:
    if isinstance(known, dict) and isinstance(asked, dict):
        for key in sorted(known.keys() | asked.keys()):
            yield from _differences(known.get(key), asked.get(key), f"{path}.{key}" if path else key)
    elif known != asked:
        yield path
