"""One tar's samples: runs of members that share a key, each with where its members lie; damaged ones are named.

A sample is handed out only when all of its members are beyond doubt: in a row, once each, whole.  A key that comes
back after other keys, or twice with one extension, could pair a picture with another's caption, and is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mmcontrast.data.block_reader import HEADERS_ONLY, WINDOW_BYTES, BlockReader
from mmcontrast.data.limits import Limits
from mmcontrast.data.problems import Problem
from mmcontrast.data.tar_headers import Entry, Scan
from mmcontrast.errors import ShardError

IMAGE = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
AUDIO = (
    "wav",
    "flac",
    "ogg",
    "opus",
    "mp3",
    "aif",
    "aiff",
    "au",
    "caf",
    "w64",
    "m4a",
    "aac",
    "mp4",
    "webm",
    "wma",
    "wv",
)
TEXT = ("txt", "text", "caption")
READABLE = frozenset((*IMAGE, *AUDIO, *TEXT, "json", "cls"))
# Other loaders unpickle, import or unpack these.  Nothing here ever opens one.
CODE = frozenset(
    ("pyd", "pickle", "pkl", "pth", "pt", "ten", "tb", "mp", "msg", "npy", "npz", "cbor", "gz", "bz2", "xz")
)


@dataclass(frozen=True)
class Member:
    """Where one file lies inside a shard."""

    offset: int
    size: int
    crc32: int | None = None  # None: unknown, not checked


@dataclass(frozen=True)
class ShardRows:
    """What one tar holds."""

    rows: dict[str, dict[str, Member]]  # key -> extension -> member, in file order
    problems: list[Problem]
    bytes: int
    members: int  # regular files
    ignored: Counter[str]  # extension -> files that no column can read
    sha256: str | None


def read_shard(
    path: Path, *, limits: Limits, contents: bool, join_split_keys: bool = False, every_file: bool = False
) -> ShardRows:
    """Read a tar's headers, and with ``contents`` every byte: crc32 of members, sha256 of the file.

    Args:
        join_split_keys: members of one key may lie apart, as in tars of all pictures followed by all captions.
        every_file: keep members that no column can read; what their bytes mean is up to the caller.

    Raises:
        ShardError: the file cannot be opened or read.
    """
    try:
        window = WINDOW_BYTES if contents else HEADERS_ONLY
        with BlockReader(path, hashed=contents, window_bytes=window) as reader:
            grouping = _Grouping(join_split_keys, every_file)
            for each in Scan(reader, limits, contents=contents):
                grouping.add(each)
            digest = reader.sha256() if contents else None
            return ShardRows(
                grouping.finished(), grouping.problems, reader.size, grouping.members, grouping.ignored, digest
            )
    except OSError as error:
        raise ShardError(f"shard '{path}' cannot be read: {error.strerror or error}.") from error


def split_name(name: str) -> tuple[str, str] | None:
    """Split ``folder/KEY.EXTENSION`` at the basename's first dot; None without key or extension."""
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return (folder + slash + key, extension.lower()) if key and extension else None


@dataclass
class _Grouping:
    join_split_keys: bool
    every_file: bool
    rows: dict[str, dict[str, Member]] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    members: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    current: str | None = None

    def add(self, found: Entry | Problem) -> None:
        """Take the next finding of a scan."""
        if isinstance(found, Problem):
            self.problems.append(found)
            return
        self.members += 1
        parts = split_name(found.name)
        if parts is None:
            self.problems.append(Problem("no_key", found.offset, found.name))
            self.problems.extend(found.faults)
            return
        key, extension = parts
        if not self.every_file and extension.rpartition(".")[2] in CODE:
            self.problems.append(Problem("code_member", found.offset, found.name, key))
            return
        if not self.every_file and extension.rpartition(".")[2] not in READABLE:
            self.ignored[extension] += 1
            return
        if key != self.current and key in self.rows and not self.join_split_keys:
            self._refuse(Problem("split_key", found.offset, found.name, key))
        self.current = key
        row = self.rows.setdefault(key, {})
        if extension in row:
            self._refuse(Problem("duplicate_member", found.offset, found.name, key))
        for fault in found.faults:
            self._refuse(Problem(fault.kind, fault.offset, fault.detail, key))
        row[extension] = Member(found.offset, found.size, found.crc32)

    def _refuse(self, problem: Problem) -> None:
        self.problems.append(problem)
        assert problem.key is not None
        self.bad.add(problem.key)

    def finished(self) -> dict[str, dict[str, Member]]:
        """Samples beyond doubt, in file order."""
        return {key: row for key, row in self.rows.items() if key not in self.bad}
