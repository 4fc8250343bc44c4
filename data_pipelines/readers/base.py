"""Items: what a reader says about one sample before any media is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, SkipSample

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
AUDIO_SUFFIXES = ("wav", "flac", "ogg", "mp3", "opus", "m4a", "aac", "aiff", "aif", "wma")
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Item:
    """One sample to be packed.  Made of plain values: it is written to a plan and read by another process."""

    id: str  # becomes the key, once cleaned and made unique
    media: dict[str, str] = field(default_factory=dict)  # column -> where the reader finds its bytes
    info: dict[str, Any] = field(default_factory=dict)  # the JSON member: captions, licence, source, anything
    refused: tuple[str, str] | None = None  # why there can be no row: a few words that group such items, the detail


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
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise SkipSample(f"'{str(path)[:200]}' cannot be read: {str(error)[:200]}") from error
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


def files_under(root: Path) -> Iterator[Path]:
    """Every file of a folder tree, sorted by path.

    Raises:
        ConfigError: a folder cannot be listed: its files would be missing without a word.
    """

    def stop(error: OSError) -> None:
        raise ConfigError(f"folder '{error.filename}' cannot be read: {error.strerror}. Give it read permission.")

    found = [Path(folder) / name for folder, _, names in os.walk(root, onerror=stop) for name in names]
    yield from sorted(path for path in found if path.is_file())


def inside(root: Path, name: str) -> Path:
    """A file that raw data name, below ``root``.

    Raises:
        SkipSample: the name leads out of it, absolute or by "..": such a list could pack any file of this machine.
    """
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(os.path.normpath(root)):
        raise SkipSample(f"'{name[:200]}' lies outside '{root}'")
    return path


def placed(root: Path, name: str, **rest: Any) -> Item:
    """The item of one medium that raw data name below ``root``; refused if the name leads out of it."""
    column = rest.pop("column")
    try:
        return Item(media={column: str(inside(root, name))}, **rest)
    except SkipSample as error:
        return Item(refused=("path leaves its folder", str(error)), **rest)


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
