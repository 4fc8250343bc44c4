"""Rows of shards, read and written: the one place where jobs touch tar files.

Reading checks size and sha256 first, so that no job works on other bytes than its input's manifest names.  Writing is
byte-identical at every run: no times, no owners, members in the order given, JSON without spaces.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from data_pipelines.workspace import Workspace
from mmcontrast.data.manifest import ColumnSpec, Manifest, ShardInfo, read_manifest
from mmcontrast.data.shards import index_shard, resolve
from mmcontrast.errors import ConfigError, ShardError, SkipSample

USTAR_NAME_BYTES = 100


@dataclass(frozen=True)
class Row:
    """One sample, undecoded."""

    key: str
    members: Mapping[str, bytes]  # by extension, in file order
    shard: str  # file name of the shard it came from

    def info(self) -> dict[str, Any]:
        """Parse the JSON member; an empty map where there is none.

        Raises:
            SkipSample: it is not a UTF-8 JSON map.
        """
        if "json" not in self.members:
            return {}
        try:
            value = json.loads(self.members["json"].decode("utf-8"))
        except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise SkipSample(f"{self.key}: .json member is not UTF-8 JSON: {error}") from error
        if not isinstance(value, dict):
            raise SkipSample(f"{self.key}: .json member is not a map")
        return value

    def with_info(self, **fields: Any) -> Row:
        """The same row with fields of its JSON member added or replaced; a null field is removed."""
        info = {name: value for name, value in (self.info() | fields).items() if value is not None}
        rest = {extension: content for extension, content in self.members.items() if extension != "json"}
        return Row(self.key, rest | {"json": to_json(info)}, self.shard)


@dataclass(frozen=True)
class Dropped:
    """A row left out, with the reason that its report gives."""

    key: str
    shard: str
    reason: str  # a few words that group rows: "caption too short"
    detail: str = ""  # this row's own: the value, the error, the row it repeats

    def as_row(self) -> dict[str, str]:
        """The JSON object of ``dropped.jsonl``."""
        return {"key": self.key, "shard": self.shard, "reason": self.reason, "detail": self.detail}


def to_json(info: Mapping[str, Any]) -> bytes:
    """A row's JSON member as bytes."""
    return json.dumps(dict(info), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


@dataclass(frozen=True)
class ShardFolder:
    """A manifest and the folder that its shards lie in."""

    manifest: Manifest
    folder: Path

    @property
    def name(self) -> str:
        """The set's name."""
        return self.manifest.name

    def __len__(self) -> int:
        return len(self.manifest.shards)

    def path(self, number: int) -> Path:
        """Path of shard ``number``."""
        return self.folder / self.manifest.shards[number].path

    def rows(self, number: int) -> Iterator[Row]:
        """Read the rows of one shard, in file order.

        Raises:
            ShardError: the shard is missing, other than the manifest says, or no plain tar.
        """
        shard, path = self.manifest.shards[number], self.path(number)
        if not path.is_file():
            raise ShardError(f"shard '{path}' is named by the manifest but missing.")
        found, digest = file_digest(path)
        if (found, digest) != (shard.bytes, shard.sha256):
            raise ShardError(
                f"shard '{path}' is not the one that its manifest names: {found:,} bytes with sha256 {digest[:12]}, "
                f"expected {shard.bytes:,} with {shard.sha256[:12]}. Restore it, or pack the set again."
            )
        members = index_shard(path)
        if len(members) != shard.rows:
            raise ShardError(f"shard '{path}' holds {len(members)} rows, its manifest says {shard.rows}.")
        with path.open("rb") as stream:
            for key, places in members.items():
                contents = {}
                for extension, member in places.items():
                    stream.seek(member.offset)
                    contents[extension] = stream.read(member.size)
                yield Row(key, contents, path.name)


def open_folder(location: str) -> ShardFolder:
    """Open a set by its folder, its manifest, or ``package:NAME``.

    Raises:
        ShardError: no manifest is there.
    """
    path = resolve(location)
    file = path / "manifest.json" if path.is_dir() else path
    return _open(file, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache(maxsize=32)
def _open(file: Path, _changed: int) -> ShardFolder:
    return ShardFolder(read_manifest(file), file.parent)


def file_digest(path: Path) -> tuple[int, str]:
    """Size in bytes and sha256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return stream.tell(), digest


def text_column(manifest: Manifest, column: str = "text") -> ColumnSpec:
    """The spec of a text column.

    Raises:
        ConfigError: the set has no such column, or it is of another modality.
    """
    spec = manifest.columns.get(column)
    if spec is None or spec.modality != "text":
        known = [name for name, each in manifest.columns.items() if each.modality == "text"]
        raise ConfigError(f"'{manifest.name}' has no text column '{column}'; it has: {', '.join(known) or 'none'}.")
    return spec


def require_columns(manifest: Manifest, columns: Iterable[str], *, what: str) -> None:
    """Check that a set has the columns that a setting needs.

    Raises:
        ConfigError: it lacks one; names those it has.
    """
    for column in columns:
        if column not in manifest.columns:
            known = ", ".join(manifest.columns)
            raise ConfigError(f"{what}: '{manifest.name}' has no column '{column}'; it has: {known}.")


def member_of(row: Row, spec: ColumnSpec) -> str | None:
    """Extension of the row's member for a column (a spec may name several, as in "jpg;png"); None if it has none."""
    return next((each for each in spec.extension.split(";") if each in row.members), None)


def captions(row: Row, spec: ColumnSpec) -> list[str]:
    """A row's captions, stripped, without empty ones.

    Raises:
        SkipSample: the member is missing, not UTF-8, or the field is no string or list of strings.
    """
    value: Any
    if spec.field is not None:
        value = row.info().get(spec.field)
    elif (extension := member_of(row, spec)) is None:
        return []
    else:
        try:
            value = row.members[extension].decode("utf-8")
        except UnicodeDecodeError as error:
            raise SkipSample(f"{row.key}: .{extension} member is not UTF-8: {error}") from error
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise SkipSample(f"{row.key}: captions are not a string or a list of strings")
    return [each.strip() for each in listed if each.strip()]


# ------------------------------------------------------------------ writing


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append one file to a tar, without anything of this machine or moment."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    plain = len(name.encode("utf-8")) <= USTAR_NAME_BYTES
    tar.format = tarfile.USTAR_FORMAT if plain else tarfile.PAX_FORMAT
    tar.addfile(entry, io.BytesIO(content))


def write_tar(stream: IO[bytes], rows: Iterable[Row]) -> dict[str, Any]:
    """Write rows into an open file; return what a manifest needs to know of them: rows, licences."""
    num_rows, licences = 0, Counter[str]()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for row in rows:
            for extension, content in row.members.items():
                add_member(tar, f"{row.key}.{extension}", content)
            num_rows += 1
            licence = row.info().get("licence") if "json" in row.members else None
            licences[str(licence or "unknown")] += 1
    return {"rows": num_rows, "licences": dict(sorted(licences.items()))}


def write_shard(workspace: Workspace, path: Path, rows: Iterable[Row]) -> dict[str, Any]:
    """Write one shard, whole or not at all; return its facts: path, rows, bytes, sha256, licences.

    With no rows, no file is written and the facts say ``rows: 0``.
    """
    stream_rows = iter(rows)
    first = next(stream_rows, None)
    if first is None:
        return {"path": path.name, "rows": 0, "licences": {}}
    with workspace.writing(path) as stream:
        facts = write_tar(stream, _chain(first, stream_rows))
    size, digest = file_digest(path)
    return {"path": path.name, "bytes": size, "sha256": digest, **facts}


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


def shard_infos(facts: Iterable[Mapping[str, Any]]) -> tuple[tuple[ShardInfo, ...], dict[str, int]]:
    """Turn the facts of written shards into the manifest's shards and licences; empty shards are left out."""
    shards, licences = [], Counter[str]()
    for each in facts:
        if each["rows"]:
            shards.append(ShardInfo(path=each["path"], rows=each["rows"], bytes=each["bytes"], sha256=each["sha256"]))
            licences.update(each["licences"])
    return tuple(shards), dict(sorted(licences.items()))
