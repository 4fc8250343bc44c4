"""Random access to the rows of a manifest's tar shards.

Each shard's headers are read once, into offsets; a row's members are then read by position.  Only plain files of
plain tars are read: no compression, no links, no paths outside the archive, nothing unpickled.
"""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

from mmcontrast.data.manifest import Manifest, read_manifest
from mmcontrast.errors import ShardError, SkipSample

PACKAGE_PREFIX = "package:"
MAX_MEMBER_BYTES = 64 << 20


def resolve(location: str | Path) -> Path:
    """Turn ``package:quickstart/emoji-train`` into a folder of mmcontrast's own assets; other paths pass."""
    text = str(location)
    if text.startswith(PACKAGE_PREFIX):
        return Path(str(resources.files("mmcontrast"))) / "assets" / text.removeprefix(PACKAGE_PREFIX)
    return Path(text)


@dataclass(frozen=True)
class Member:
    """Where one file lies inside a shard."""

    offset: int
    size: int


@dataclass(frozen=True)
class RawRow:
    """One sample, undecoded: member bytes by extension."""

    key: str  # "source/shard/__key__"
    members: dict[str, bytes]

    def info(self) -> dict[str, Any]:
        """Parse the JSON member.

        Raises:
            SkipSample: it is missing, not UTF-8 JSON, or not a map.
        """
        try:
            value = json.loads(self.members["json"].decode("utf-8"))
        except KeyError as error:
            raise SkipSample(f"{self.key}: no .json member") from error
        except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise SkipSample(f"{self.key}: .json member is not UTF-8 JSON: {error}") from error
        if not isinstance(value, dict):
            raise SkipSample(f"{self.key}: .json member is not a map")
        return value


def index_shard(path: Path) -> dict[str, dict[str, Member]]:
    """Read a tar's headers: ``{key: {extension: member}}`` in file order.

    Raises:
        ShardError: not a plain tar, cut short, or a member is larger than 64 MiB.
    """
    rows: dict[str, dict[str, Member]] = {}
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                if not entry.isreg():
                    continue
                name = entry.name.rsplit("/", 1)[-1]
                key, dot, extension = name.partition(".")
                if not key or not dot:
                    continue
                if entry.size > MAX_MEMBER_BYTES or entry.offset_data + entry.size > size:
                    raise ShardError(f"'{path}': member '{entry.name}' of {entry.size} bytes is too large or cut off")
                prefix = entry.name[: -len(name)]
                rows.setdefault(prefix + key, {})[extension] = Member(entry.offset_data, entry.size)
    except tarfile.TarError as error:
        raise ShardError(f"'{path}' is not a plain tar file: {error}") from error
    return rows


class ShardSet:
    """All rows of one manifest, by position in manifest order."""

    def __init__(self, location: str | Path) -> None:
        """Read the manifest and index every shard.

        Raises:
            ShardError: something is missing, damaged, or holds another number of rows than the manifest says.
        """
        path = resolve(location)
        self.folder = path if path.is_dir() else path.parent
        self.manifest: Manifest = read_manifest(path)
        self._rows: list[tuple[int, str, dict[str, Member]]] = []
        for number, shard in enumerate(self.manifest.shards):
            file = self.folder / shard.path
            if not file.is_file():
                raise ShardError(f"shard '{file}' is named by the manifest but missing.")
            if file.stat().st_size != shard.bytes:
                raise ShardError(
                    f"shard '{file}' has {file.stat().st_size:,} bytes, its manifest says {shard.bytes:,}."
                )
            rows = index_shard(file)
            if len(rows) != shard.rows:
                raise ShardError(f"shard '{file}' holds {len(rows)} rows, its manifest says {shard.rows}.")
            self._rows.extend((number, key, members) for key, members in rows.items())
        self._streams: dict[int, BinaryIO] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_streams": {}}  # open files stay behind when a worker is started

    def __getitem__(self, position: int) -> RawRow:
        number, key, members = self._rows[position]
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = (self.folder / self.manifest.shards[number].path).open("rb")
        # By position, never by seeking: forked loader workers share one file offset.
        contents = {
            extension: os.pread(stream.fileno(), member.size, member.offset) for extension, member in members.items()
        }
        shard = self.manifest.shards[number].path
        return RawRow(f"{self.manifest.name}/{shard}/{key}", contents)


@lru_cache(maxsize=64)
def open_shards(location: str) -> ShardSet:
    """Open a manifest's shards, once per process."""
    return ShardSet(location)
