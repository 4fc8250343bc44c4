"""The shard contract: a folder of plain ``.tar`` shards and one ``manifest.json``.

The manifest is the only thing that crosses from ``data_pipelines`` to the loader.  It names the columns
(modality, member extension, optional field inside a JSON member), the shards (rows, bytes, sha256) and how the
set was made.  A sample is the run of tar members that share a key, ``KEY.png`` + ``KEY.json`` say.

An ``index.bin`` beside it (``mmcontrast data index``) says where each sample lies; without one, shards are scanned
when they are opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmcontrast.errors import ShardError

VERSION = 1
MODALITIES = ("image", "audio", "text")
MADE_BY_OTHERS = (
    "Of tars made by others, 'mmcontrast data index FOLDER' writes it, or 'stream' reads them as they are."
)


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """Where one column lives inside a sample."""

    modality: str
    extension: str  # the member's name after KEY and the first dot, "png" or "json"; "jpg;jpeg" is either of the two
    field: str | None = None  # for JSON members: the field that holds the value (a string or a list of strings)

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions that the member may have."""
        return tuple(self.extension.lower().split(";"))


@dataclass(frozen=True, kw_only=True)
class LabelSpec:
    """An integer class id per row, looked up in ``classes`` by the JSON field's string value."""

    field: str
    classes: tuple[str, ...]
    extension: str = "json"


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One tar file: a path relative to the manifest's folder, or a URL."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A parsed ``manifest.json``."""

    name: str
    columns: dict[str, ColumnSpec]
    shards: tuple[ShardInfo, ...]
    labels: dict[str, LabelSpec] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)  # licence -> rows
    made_by: dict[str, Any] = field(default_factory=dict)  # job, parameters, sources with versions
    version: int = VERSION

    @property
    def rows(self) -> int:
        """Number of samples over all shards."""
        return sum(shard.rows for shard in self.shards)

    def sha256(self) -> str:
        """Digest of the canonical JSON: part of a run's identity."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from a file, or from the folder that holds ``manifest.json``.

    Raises:
        ShardError: the file is missing, not JSON, of another version, or lacks a field.
    """
    path = path / "manifest.json" if path.is_dir() else path
    if path.suffix == ".tar":
        raise ShardError(f"'{path}' is a shard. Expected the folder that holds it and manifest.json. {MADE_BY_OTHERS}")
    if not path.is_file():
        others = f" {MADE_BY_OTHERS}" if any(path.parent.glob("*.tar")) else ""
        raise ShardError(f"no manifest at '{path}'. Expected a folder with manifest.json and .tar shards.{others}")
    return parse_manifest(path.read_bytes(), where=str(path))


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """Parse a manifest's bytes.

    Args:
        where: path or URL, for messages.

    Raises:
        ShardError: not JSON, of another version, or lacks a field.
    """
    try:
        raw = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ShardError(f"'{where}' is not JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("version") != VERSION:
        raise ShardError(f"'{where}' is not a manifest of version {VERSION}.")
    try:
        manifest = Manifest(
            name=raw["name"],
            columns={name: ColumnSpec(**spec) for name, spec in raw["columns"].items()},
            shards=tuple(ShardInfo(**shard) for shard in raw["shards"]),
            labels={
                name: LabelSpec(**{**spec, "classes": tuple(spec["classes"])})
                for name, spec in raw.get("labels", {}).items()
            },
            licences=raw.get("licences", {}),
            made_by=raw.get("made_by", {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"'{where}' lacks or misspells a field: {error}") from error
    _validate(manifest, where)
    return manifest


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write ``folder/manifest.json`` and return its path."""
    path, scratch = folder / "manifest.json", folder / f".manifest.json.{os.getpid()}.partial"
    try:
        scratch.write_text(json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def is_url(location: str | Path) -> bool:
    """Whether a location is ``scheme://...``."""
    return "://" in str(location)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _validate(manifest: Manifest, where: str) -> None:
    for name, column in manifest.columns.items():
        if column.modality not in MODALITIES or name.split(".")[0] != column.modality:
            raise ShardError(
                f"'{where}': column '{name}' has modality '{column.modality}'. "
                f"A column is named after its modality ({', '.join(MODALITIES)}), with an optional .suffix."
            )
    for shard in manifest.shards:
        parts = Path(shard.path).parts
        if is_url(shard.path):
            continue  # which schemes may be opened is up to the storage config
        if Path(shard.path).is_absolute() or ".." in parts:
            raise ShardError(f"'{where}': shard path '{shard.path}' leaves the manifest's folder.")
    if not manifest.shards or manifest.rows == 0:
        raise ShardError(f"'{where}' names no rows: the source is empty.")
