"""Named numpy arrays in one file that is mapped, not read: a JSON head, then the arrays, 64-byte aligned.

Nothing is unpickled; types come from an allow-list, and every array's bounds are checked against the file's size.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcontrast.errors import ShardError

MAGIC = b"MMCARR01"
ALIGN = 64
TYPES = ("uint8", "uint16", "uint32", "uint64")
MAX_HEAD_BYTES = 256 << 20


@dataclass(frozen=True)
class ArrayFile:
    """What a file holds; arrays are views of the mapped file and cannot be written."""

    head: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Pieces:
    """An array that is written piece by piece, so that it never lies in memory whole."""

    dtype: str
    items: int
    pieces: Iterable[np.ndarray]

    @classmethod
    def of(cls, array: np.ndarray) -> Pieces:
        """A whole array."""
        return cls(array.dtype.name, len(array), (array,))


def write_arrays(path: Path, head: Mapping[str, Any], arrays: Mapping[str, Pieces]) -> None:
    """Write a file whole or not at all: beside the target, synced, then renamed.

    Raises:
        OSError: the disk is full, or the folder cannot be written; no file is left behind.
    """
    offset, places = 0, {}
    for name, array in arrays.items():
        assert array.dtype in TYPES, f"'{name}' is of no known type"
        places[name] = {"dtype": array.dtype, "items": array.items, "offset": offset}
        offset += _padded(array)
    text = json.dumps({"head": dict(head), "arrays": places}, ensure_ascii=False).encode()
    start = len(MAGIC) + 8 + len(text)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with scratch.open("wb") as stream:
            stream.write(MAGIC + len(text).to_bytes(8, "little") + text + bytes(-start % ALIGN))
            for array in arrays.values():
                for piece in array.pieces:
                    stream.write(np.ascontiguousarray(piece, dtype=array.dtype).data)
                stream.write(bytes(_padded(array) - array.items * np.dtype(array.dtype).itemsize))
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _padded(array: Pieces) -> int:
    size = array.items * np.dtype(array.dtype).itemsize
    return size + -size % ALIGN


def read_arrays(path: Path) -> ArrayFile:
    """Map a file.

    Raises:
        ShardError: missing, not of this format, cut short, or with an array outside of the file.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(len(MAGIC) + 8)
            length = int.from_bytes(start[len(MAGIC) :], "little")
            if start[: len(MAGIC)] != MAGIC or length > min(size, MAX_HEAD_BYTES):
                raise ShardError(f"'{path}' is no index file. Make it with: mmcontrast data index FOLDER")
            tree = json.loads(stream.read(length).decode("utf-8"))
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        base = len(start) + length
        base += -base % ALIGN
        arrays = {name: _view(mapped, base, place, size) for name, place in tree["arrays"].items()}
        return ArrayFile(dict(tree["head"]), arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ShardError(f"index file '{path}' is damaged or missing: {error}. Make it again.") from error


def _view(mapped: mmap.mmap, base: int, place: Mapping[str, Any], size: int) -> np.ndarray:
    if place["dtype"] not in TYPES:
        raise ValueError(f"array of type {place['dtype']!r}")
    dtype, items, offset = np.dtype(place["dtype"]), int(place["items"]), base + int(place["offset"])
    if items < 0 or offset < base or offset + items * dtype.itemsize > size:
        raise ValueError("an array lies outside of the file")
    return np.frombuffer(mapped, dtype=dtype, count=items, offset=offset)
