"""Random access to the rows of a manifest's tar shards.

Rows are found through the set's ``index.bin``, or by scanning the shards' headers where there is none, and read by
position.  Only plain files of plain tars are read: no compression, no links, no paths outside the archive, nothing
unpickled.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from mmcontrast.data.index import INDEX_FILE, Index, Part, Place, lacking, read_index
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import Manifest, ShardInfo, is_url, parse_manifest, read_manifest
from mmcontrast.data.remote import Cache, join_url, read_remote
from mmcontrast.data.shard_rows import Member, read_shard
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ShardError, SkipSample

PACKAGE_PREFIX = "package:"
OPEN_FILES = 64  # shards kept open by one process
MANIFEST_BYTES = 1 << 30
NEAR_BYTES = 64 << 10  # of headers and padding that are read along with a row's members
MAX_MEMBER_BYTES = Limits().member_bytes
LIMITED = {"member_too_large": "member_bytes", "huge_header": "header_bytes"}  # finding -> its limit
HARMLESS = ("no_key", "code_member", "special_file", "link", "dirty_padding")  # files that are not read


def resolve(location: str | Path) -> Path:
    """Turn ``package:quickstart/emoji-train`` into a folder of mmcontrast's own assets; other paths pass."""
    text = str(location)
    if text.startswith(PACKAGE_PREFIX):
        return Path(str(resources.files("mmcontrast"))) / "assets" / text.removeprefix(PACKAGE_PREFIX)
    return Path(text)


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
            raise SkipSample(f"{self.key}: no .json member", cause="missing_member") from error
        # UnicodeDecodeError and JSONDecodeError are ValueErrors; deep nesting is a RecursionError.
        except (ValueError, RecursionError) as error:
            raise SkipSample(f"{self.key}: .json member is not UTF-8 JSON: {error}", cause="json") from error
        if not isinstance(value, dict):
            raise SkipSample(f"{self.key}: .json member is not a map", cause="json")
        return value


def index_shard(path: Path) -> dict[str, dict[str, Member]]:
    """Read a tar's headers: ``{key: {extension: member}}`` of every file, in file order.

    Raises:
        ShardError: not a plain tar, damaged, or a member is over the limit.
    """
    found = read_shard(path, limits=Limits(), contents=False, every_file=True)
    damage = [problem for problem in found.problems if problem.kind not in HARMLESS]
    if damage:
        first = damage[0]
        raise ShardError(
            f"shard '{path}': {first.kind} at byte {first.offset:,}: {first.detail}; {len(damage)} findings."
        )
    return found.rows


class ShardSet:
    """All rows of one manifest, by position in manifest order."""

    def __init__(self, location: str | Path, *, storage: Storage | None = None, limits: Limits | None = None) -> None:
        """Read the manifest, and its index or else every shard's headers.

        Args:
            location: a manifest, or the folder that holds one; ``package:NAME``; or a URL of either.

        Raises:
            ShardError: something is missing, damaged, or holds another number of rows than the manifest says.
        """
        self.storage, self.limits = storage or Storage(), limits or Limits()
        self.location = _manifest_location(location)
        self.manifest: Manifest = self._read_manifest()
        self._alternatives = alternatives(self.manifest)
        self._open: dict[int, int] = {}  # shard -> descriptor, least recently used first
        self._failed: set[int] = set()  # shards whose reading has failed after all tries
        self._scanned: dict[int, tuple[int, int]] = {}  # shard without checksums -> size and time of the file scanned
        self.index: Index = self._find_index()

    def __len__(self) -> int:
        return len(self.index)

    def check_readers(self, *, ranks: int, workers: int) -> None:
        """Any number may read: rows are found by an index."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}  # open files stay behind when a worker is started

    def __getitem__(self, position: int) -> RawRow:
        """Read one row's members.

        Raises:
            SkipSample: a member is cut short, over a limit, or not what the index says.
            ShardError: the shard cannot be read, and ``storage.on_shard_error`` is "fail".
        """
        return self._row(self.index.row(position))

    def info(self, position: int) -> dict[str, Any]:
        """Read and parse one row's JSON member alone.

        Raises:
            SkipSample, ShardError: as for a row; or :meth:`RawRow.info`'s.
        """
        place = self.index.row(position)
        members = {name: member for name, member in place.members.items() if name == "json"}
        return self._row(replace(place, members=members)).info()

    def _row(self, place: Place) -> RawRow:
        key = f"{self.manifest.name}/{self.manifest.shards[place.shard].path}/{place.key}"
        for extension, member in place.members.items():
            check_member_size(key, extension, member.size, self.limits)
        first, last = _span(place.members)
        # A row's members lie one after the other: one read, unless the members of a key were joined from afar.
        near = last - first <= sum(member.size for member in place.members.values()) + NEAR_BYTES
        whole = memoryview(self._read_bytes(place.shard, key, first, last - first)) if near else None
        contents = {}
        for extension, member in place.members.items():
            if whole is None:
                content = self._read_bytes(place.shard, key, member.offset, member.size)
            else:
                content = bytes(whole[member.offset - first : member.offset - first + member.size])
            contents[extension] = self._checked(content, key, extension, member)
        for column, extensions in self._alternatives.items():
            found = [extension for extension in extensions if extension in contents]
            if found:
                contents[column] = contents[found[0]]
        return RawRow(key, contents)

    def name_of(self, position: int) -> tuple[str, str]:
        """Shard and key of a row, whether or not it can be read."""
        place = self.index.row(position)
        return self.manifest.shards[place.shard].path, place.key

    @property
    def folder(self) -> Path:
        """Folder of a local manifest."""
        return Path(self.location).parent

    def shard_path(self, number: int) -> Path:
        """Local path of a shard, fetched if it is remote.

        Raises:
            ShardError: it is not there, or not what the manifest says.
        """
        shard = self.manifest.shards[number]
        if is_url(self.location) or is_url(shard.path):
            url = join_url(str(self.location), shard.path)
            return Cache(self.storage).fetch(url, sha256=shard.sha256, size=shard.bytes)
        path = self.folder / shard.path
        if not path.is_file():
            raise ShardError(f"shard '{path}' is named by the manifest but missing.")
        if path.stat().st_size != shard.bytes:
            raise ShardError(f"shard '{path}' has {path.stat().st_size:,} bytes, its manifest says {shard.bytes:,}.")
        return path

    def _read_manifest(self) -> Manifest:
        if not is_url(self.location):
            return read_manifest(Path(self.location))
        url = str(self.location)
        return parse_manifest(read_remote(url, self.storage, most_bytes=MANIFEST_BYTES), where=url)

    def _find_index(self) -> Index:
        shards = self.manifest.shards
        if is_url(self.location):
            url = join_url(str(self.location), INDEX_FILE)
            return read_index(Cache(self.storage).fetch(url, sha256=None), shards)
        for number, shard in enumerate(shards):
            if not is_url(shard.path):
                self.shard_path(number)
        path = self.folder / INDEX_FILE
        if path.is_file():
            return read_index(path, shards)
        parts = [self._scan(number, shard) for number, shard in enumerate(shards)]
        return Index.of(parts, has_crc32=False)

    def _scan(self, number: int, shard: ShardInfo) -> Part:
        path = self.shard_path(number)
        self._scanned[number] = _stamp(path)
        found = read_shard(path, limits=self.limits, contents=False)
        part = Part.of(found.rows)
        if part.rows == shard.rows and not found.problems:
            return part
        absent = lacking(part, self.manifest.columns)
        if part.rows - len(absent) != shard.rows:
            kinds = Counter([*(problem.kind for problem in found.problems), *("missing_member" for _ in absent)])
            causes = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()) or "nothing else is wrong"
            raise ShardError(
                f"shard '{path}' holds {part.rows - len(absent)} whole rows, its manifest says {shard.rows}. "
                f"Found: {causes}. {raise_limits(kinds)}"
                "'mmcontrast data index --again' describes the shards as they are, and lists what is wrong with them."
            )
        return part.without(absent) if absent else part

    def _checked(self, content: bytes, key: str, extension: str, member: Member) -> bytes:
        if len(content) < member.size:
            raise SkipSample(f"{key}: .{extension} is cut short: the shard has changed", cause="short_read")
        if member.crc32 is not None and self.storage.check_crc32 and zlib.crc32(content) != member.crc32:
            raise SkipSample(f"{key}: .{extension} is not what was indexed: its crc32 differs", cause="crc32")
        return content

    def _read_bytes(self, shard: int, key: str, offset: int, size: int) -> bytes:
        tries = 1 if shard in self._failed else self.storage.retries + 1
        for number in range(tries):
            try:
                # By position, never by seeking: forked loader workers share one file offset.
                descriptor = self._descriptor(shard)
                content = os.pread(descriptor, size, offset)
                # After reading, so that no change goes unseen; with an index, checksums tell.
                if self._scanned and self._scanned.get(shard) != _stamp(descriptor):
                    raise ShardError("it has changed since its headers were read")
                self._failed.discard(shard)
                return content
            except (OSError, ShardError) as error:
                self._close(shard)
                if number + 1 < tries:
                    time.sleep(self.storage.backoff_seconds * 2**number)
                    continue
                self._failed.add(shard)
                message = f"{key}: its shard cannot be read: {error}"
                if self.storage.on_shard_error == "substitute":
                    raise SkipSample(message, cause="shard_unreadable", lasting=False) from error
                raise ShardError(
                    f"{message}\nTried {tries} time(s). With data.storage.on_shard_error=substitute, other rows take "
                    "the place of such a shard's."
                ) from error
        raise AssertionError("the loop returns or raises")

    def _descriptor(self, shard: int) -> int:
        descriptor = self._open.pop(shard, None)
        if descriptor is None:
            descriptor = os.open(self.shard_path(shard), os.O_RDONLY | os.O_CLOEXEC)
            while len(self._open) >= OPEN_FILES:
                self._close(next(iter(self._open)))
        self._open[shard] = descriptor
        return descriptor

    def _close(self, shard: int) -> None:
        descriptor = self._open.pop(shard, None)
        if descriptor is not None:
            os.close(descriptor)


def _span(members: dict[str, Member]) -> tuple[int, int]:
    """First byte of a row's first member, and the byte after its last."""
    return (
        min((member.offset for member in members.values()), default=0),
        max((member.offset + member.size for member in members.values()), default=0),
    )


def _stamp(file: Path | int) -> tuple[int, int]:
    facts = os.stat(file)
    return facts.st_size, facts.st_mtime_ns


def _manifest_location(location: str | Path) -> str | Path:
    if is_url(location):
        text = str(location)
        return text if text.endswith(".json") else f"{text.rstrip('/')}/manifest.json"
    path = resolve(location)
    return path / "manifest.json" if path.is_dir() else path


def check_member_size(key: str, extension: str, size: int, limits: Limits) -> None:
    """Refuse a member that is over its limit.

    Raises:
        SkipSample: it is.
    """
    limit = {"json": "json_bytes", "txt": "caption_bytes"}.get(extension, "member_bytes")
    if size > min(getattr(limits, limit), limits.member_bytes):
        raise SkipSample(f"{key}: .{extension} of {size:,} bytes is over data.limits.{limit}", cause=limit)


def alternatives(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Columns whose member may have one of several extensions: the column's extension -> those."""
    columns = manifest.columns.values()
    return {column.extension: column.extensions for column in columns if len(column.extensions) > 1}


def raise_limits(kinds: Collection[str]) -> str:
    """Which limits would have to be raised for findings of these kinds to go away, as a sentence."""
    fields = [f"data.limits.{LIMITED[kind]}" for kind in sorted(kinds) if kind in LIMITED]
    return f"Raise {' and '.join(fields)} to read what is that large. " if fields else ""


def open_shards(location: str, storage: Storage | None = None, limits: Limits | None = None) -> ShardSet:
    """Open a manifest's shards, once per process."""
    return _open_shards(location, storage or Storage(), limits or Limits())


@lru_cache(maxsize=64)
def _open_shards(location: str, storage: Storage, limits: Limits) -> ShardSet:
    return ShardSet(location, storage=storage, limits=limits)
