"""Items: what a reader says about one sample before any media is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, ShardError, SkipSample

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
AUDIO_SUFFIXES = ("wav", "flac", "ogg", "mp3", "opus", "m4a", "aac", "aiff", "aif", "wma")
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Item:
    """One sample to be packed.  Made of plain values: it is written to a plan and read by another process."""

    id: str  # becomes the key, once cleaned and made unique
    media: dict[str, str] = field(default_factory=dict)  # column -> where the reader finds its bytes
    info: dict[str, Any] = field(default_factory=dict)  # the JSON member: captions, licence, source, anything


class Reader:
    """Base of every reader: a list of items in a fixed order, and their bytes on demand."""

    Config: ClassVar[type]

    def __init__(self, config: Any) -> None:
        self.config = config

    def items(self) -> Iterator[Item]:
        """Every item, always in the same order.

        Raises:
            ShardError, ConfigError: the raw data is not laid out as this reader expects.
        """
        raise NotImplementedError

    def fetch(self, where: str) -> bytes:
        """Bytes of one medium.  Here: a file's.

        Raises:
            SkipSample: missing, empty, or over 64 MiB.
        """
        return read_file(Path(where))

    def suffix(self, where: str) -> str:
        """File type of one medium, as its name gives it."""
        return Path(where).suffix.lower().lstrip(".")

    def inputs(self) -> dict[str, str]:
        """Files whose content decides the list, by digest."""
        return {}


@config
class ReaderConfig:
    """What most readers have."""

    licence: str = "unknown"  # written into every row that does not bring its own
    origin: str = "unknown"  # package or address with version, written into every row as "source"


def read_file(path: Path) -> bytes:
    """Read one file whole.

    Raises:
        SkipSample: missing, empty, or over 64 MiB.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SkipSample(f"'{path}' has {size:,} bytes, over the limit of {MAX_FILE_BYTES:,}")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SkipSample(f"no file '{path}'") from error
    except OSError as error:
        raise SkipSample(f"'{path}' cannot be read: {error}") from error
    if not content:
        raise SkipSample(f"'{path}' is empty")
    return content


def existing(path: str, *, what: str, folder: bool = False) -> Path:
    """A path that must exist.

    Raises:
        ConfigError: it does not, or is no folder (or no file).
    """
    found = Path(path)
    if not (found.is_dir() if folder else found.is_file()):
        kind = "folder" if folder else "file"
        raise ConfigError(f"no {kind} '{path}' ({what}).")
    return found


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a .csv, .tsv, .jsonl, .json (a list of maps) or .parquet file.

    Raises:
        ShardError: another file type, or not what its name says; names the line.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            yield from _read_csv(path, "\t" if suffix == ".tsv" else ",")
        elif suffix in (".jsonl", ".ndjson"):
            with path.open(encoding="utf-8") as stream:
                for number, line in enumerate(stream, start=1):
                    if line.strip():
                        yield _a_map(json.loads(line), path, number)
        elif suffix == ".json":
            rows = json.loads(path.read_text(encoding="utf-8"))
            yield from (_a_map(row, path, number) for number, row in enumerate(rows, start=1))
        elif suffix == ".parquet":
            import pyarrow.parquet

            with pyarrow.parquet.ParquetFile(path) as table:
                for batch in table.iter_batches(1024):
                    yield from batch.to_pylist()
        else:
            raise ShardError(f"'{path}' is no table that can be read. Known: csv, tsv, json, jsonl, parquet.")
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, OSError) as error:
        raise ShardError(f"'{path}' is not the {suffix} file that its name says: {error}") from error
    except ValueError as error:  # pyarrow's ArrowInvalid
        raise ShardError(f"'{path}' does not read as {suffix}: {error}") from error


def _read_csv(path: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise ShardError(f"'{path}' line {reader.line_num}: another number of fields than its header has.")
            yield dict(row)


def _a_map(row: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ShardError(f"'{path}' row {number}: expected a map of fields, got a {type(row).__name__}.")
    return row


def require_fields(row: dict[str, Any], names: Iterable[str], path: Path) -> None:
    """Check that a table has the columns that are needed.

    Raises:
        ShardError: one is missing; lists those that exist.
    """
    missing = [name for name in names if name not in row]
    if missing:
        raise ShardError(f"'{path}' has no field '{missing[0]}'; it has: {', '.join(map(str, row))}.")


def medium_of(suffix: str) -> str | None:
    """Modality of a file type; null if it is neither a picture's nor a sound's."""
    suffix = suffix.lower().lstrip(".")
    return "image" if suffix in IMAGE_SUFFIXES else "audio" if suffix in AUDIO_SUFFIXES else None


def sniff(content: bytes) -> str:
    """File type of a picture or sound by its first bytes; "bin" if unknown."""
    head = content[:16]
    if head[:4] == b"RIFF":
        return "webp" if head[8:12] == b"WEBP" else "wav"
    known = {
        b"\xff\xd8\xff": "jpg",
        b"\x89PNG": "png",
        b"GIF8": "gif",
        b"BM": "bmp",
        b"II*\x00": "tif",
        b"MM\x00*": "tif",
        b"fLaC": "flac",
        b"OggS": "ogg",
        b"ID3": "mp3",
        b"FORM": "aiff",
    }
    for magic, suffix in known.items():
        if head.startswith(magic):
            return suffix
    return "mp3" if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 else "bin"
