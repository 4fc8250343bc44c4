"""What is evaluated on: rows with media and fields, from our shards or from the files that people download.

A source is named by one string: a folder with a manifest, ``package:NAME``, ``READER:FOLDER`` such as
``esc50:ESC-50-master``, or a YAML file that holds a reader's fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from mmcontrast.data.shards import MAX_MEMBER_BYTES, PACKAGE_PREFIX, ShardSet, open_shards
from mmcontrast.errors import MissingData, SkipSample


class Collection(Protocol):
    """Rows by position."""

    name: str
    modalities: tuple[str, ...]  # of the media; texts are fields
    classes: tuple[str, ...]  # every class in the official order; empty: those of the rows
    prompts: tuple[str, ...]  # templates that come with the files
    queries: list[dict[str, Any]]  # of tasks whose queries are no rows: composed or graded retrieval

    def __len__(self) -> int:
        """Number of rows."""

    def key(self, position: int) -> str:
        """Name of a row in messages and per-item results."""

    def info(self, position: int) -> dict[str, Any]:
        """Fields of a row.

        Raises:
            SkipSample: they are damaged.
        """

    def content(self, position: int, modality: str) -> bytes:
        """Bytes of a row's picture or sound.

        Raises:
            SkipSample: they are not there.
        """

    def extension(self, position: int, modality: str) -> str:
        """Kind of file of a row's picture or sound: png, wav."""

    def facts(self) -> dict[str, Any]:
        """Name, rows, sha256 and licences, for the result."""


class Shards:
    """A manifest's shards as a collection."""

    classes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self.name = shards.manifest.name
        self.modalities = tuple(name for name in shards.manifest.columns if name != "text")
        self.queries: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.shards)

    def key(self, position: int) -> str:
        """Name of a row, without set and shard."""
        return self.shards[position].key.rsplit("/", 1)[-1]

    def info(self, position: int) -> dict[str, Any]:
        """The JSON member of a row."""
        return self.shards[position].info()

    def content(self, position: int, modality: str) -> bytes:
        """One member of a row."""
        raw = self.shards[position]
        extension = self.extension(position, modality)
        if extension not in raw.members:
            raise SkipSample(f"{raw.key}: no .{extension} member")
        return raw.members[extension]

    def extension(self, position: int, modality: str) -> str:
        """The column's extension."""
        return self.shards.manifest.columns[modality].extension

    def facts(self) -> dict[str, Any]:
        """What the manifest says of itself."""
        manifest = self.shards.manifest
        return {
            "name": manifest.name,
            "rows": manifest.rows,
            "manifest_sha256": manifest.sha256(),
            "licences": manifest.licences,
        }


@dataclass(frozen=True)
class Entry:
    """One row of a reader: fields, and where its media are."""

    key: str
    info: dict[str, Any]
    media: dict[str, Path | Callable[[], bytes]] = field(default_factory=dict)  # modality -> file, or how to get bytes
    extensions: dict[str, str] = field(default_factory=dict)  # of media that are no files


class Listed:
    """Rows that a reader has listed."""

    def __init__(
        self,
        name: str,
        entries: list[Entry],
        *,
        classes: tuple[str, ...] = (),
        prompts: tuple[str, ...] = (),
        licence: str = "",
        queries: list[dict[str, Any]] | None = None,
    ) -> None:
        """Keep the rows.

        Raises:
            MissingData: there are none, or two share a key.
        """
        if not entries:
            raise MissingData(f"'{name}' has no rows: the wrong folder or split?")
        seen: set[str] = set()
        twice = next((entry.key for entry in entries if entry.key in seen or seen.add(entry.key)), None)  # type: ignore[func-returns-value]
        if twice is not None:
            raise MissingData(f"'{name}' has two rows with the key '{twice}'.")
        self.name, self.entries, self.classes, self.prompts, self.licence = name, entries, classes, prompts, licence
        self.modalities = tuple(sorted({modality for entry in entries for modality in entry.media}))
        self.queries = queries or []

    def __len__(self) -> int:
        return len(self.entries)

    def key(self, position: int) -> str:
        """Name of a row."""
        return self.entries[position].key

    def info(self, position: int) -> dict[str, Any]:
        """Fields of a row."""
        return self.entries[position].info

    def content(self, position: int, modality: str) -> bytes:
        """Bytes of a file, at most 64 MiB."""
        entry = self.entries[position]
        place = entry.media.get(modality)
        if place is None:
            raise SkipSample(f"{entry.key}: no {modality}")
        return read_media(place, key=entry.key) if isinstance(place, Path) else place()

    def extension(self, position: int, modality: str) -> str:
        """The file's ending."""
        entry = self.entries[position]
        place = entry.media.get(modality)
        if isinstance(place, Path):
            return place.suffix.lower().lstrip(".")
        return entry.extensions.get(modality, "")

    def facts(self) -> dict[str, Any]:
        """A digest of keys, fields, classes and the sizes of files: another list of rows gives another one."""
        digest = hashlib.sha256(json.dumps([self.name, self.classes, self.queries], default=str).encode())
        for entry in self.entries:
            sizes = {
                modality: place.stat().st_size if place.is_file() else None
                for modality, place in entry.media.items()
                if isinstance(place, Path)
            }
            digest.update(json.dumps([entry.key, entry.info, sizes], sort_keys=True, default=str).encode())
        return {
            "name": self.name,
            "rows": len(self),
            "manifest_sha256": digest.hexdigest(),
            "licences": {self.licence: len(self)} if self.licence else {},
        }


def read_media(place: Path, *, key: str) -> bytes:
    """Bytes of a row's file, at most 64 MiB.

    Raises:
        SkipSample: it cannot be read; names the row.
    """
    try:
        if place.stat().st_size > MAX_MEMBER_BYTES:
            raise SkipSample(f"{key}: '{place}' is over 64 MiB")
        return place.read_bytes()
    except OSError as error:
        raise SkipSample(f"{key}: '{place}' cannot be read: {error.strerror}") from error


def located(source: str, data: Path | None) -> str:
    """Write a source's path from where the data are: relative paths are meant from the folder ``data``."""
    if data is None or source.startswith(PACKAGE_PREFIX):
        return source
    kind, colon, rest = source.partition(":")
    if colon and not Path(source).exists():
        return source if Path(rest).is_absolute() else f"{kind}:{data / rest}"
    return source if Path(source).is_absolute() else str(data / source)


@lru_cache(maxsize=32)
def open_collection(source: str) -> Collection:
    """Open a source, once a process.

    Raises:
        MissingData: nothing is there.
        ConfigError, ShardError: no such reader, or damaged files.
    """
    if source.startswith(PACKAGE_PREFIX):
        return Shards(open_shards(source))
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise MissingData(
                f"no file '{path}' describes a set. Write one, such as {{type: folder, root: {path.stem}}}."
            )
        from mmcontrast.evaluate.readers.base import read_described

        return read_described(path)
    kind, colon, rest = source.partition(":")
    if colon and not path.exists():
        from mmcontrast.evaluate.readers.base import read_named

        return read_named(kind, Path(rest))
    if not path.exists():
        raise MissingData(f"nothing is at '{source}'.")
    return Shards(open_shards(source))
