"""The index of a set of shards: for every sample its key, and where its members lie, with their crc32.

About 50 bytes a sample of two members, in flat arrays that are mapped from ``index.bin`` beside the manifest: opening
costs the same for a thousand samples as for a billion, and any sample is found by its position.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmcontrast.data.array_file import ArrayFile, Pieces, read_arrays, write_arrays
from mmcontrast.data.manifest import ColumnSpec, ShardInfo
from mmcontrast.data.shard_rows import Member
from mmcontrast.errors import ShardError

INDEX_FILE = "index.bin"
VERSION = 1
Rows = dict[str, dict[str, Member]]


@dataclass(frozen=True)
class Part:
    """One shard's samples as flat arrays."""

    extensions: tuple[str, ...]
    arrays: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.arrays["row_member"])

    @classmethod
    def of(cls, rows: Rows) -> Part:
        """Flatten ``{key: {extension: member}}``."""
        extensions = tuple(sorted({extension for row in rows.values() for extension in row}))
        number = {extension: index for index, extension in enumerate(extensions)}
        members = [(number[extension], member) for row in rows.values() for extension, member in row.items()]
        keys = [key.encode("utf-8") for key in rows]
        arrays = {
            "row_member": _starts([len(row) for row in rows.values()]),
            "row_key": _starts([len(key) for key in keys]),
            "member_offset": np.array([member.offset for _, member in members], np.uint64),
            "member_size": np.array([member.size for _, member in members], np.uint32),
            "member_crc32": np.array([member.crc32 or 0 for _, member in members], np.uint32),
            "member_extension": np.array([extension for extension, _ in members], np.uint16),
            "keys": np.frombuffer(b"".join(keys), np.uint8),
        }
        return cls(extensions, arrays)

    def without(self, dropped: Container[int]) -> Part:
        """The samples but some."""
        places = (self.row(row) for row in range(self.rows) if row not in dropped)
        return Part.of({place.key: place.members for place in places})

    def row(self, position: int) -> Place:
        """Where one of the shard's samples lies."""
        return self._index.row(position)

    @cached_property
    def _index(self) -> Index:
        return Index.of([self], has_crc32=True)

    def has(self, wanted: tuple[str, ...]) -> np.ndarray:
        """Mask of the samples that have a member with one of the extensions."""
        ids = [index for index, extension in enumerate(self.extensions) if extension in wanted]
        if not self.rows:
            return np.zeros(0, bool)
        hits = np.isin(self.arrays["member_extension"], ids)
        return np.logical_or.reduceat(hits, self.arrays["row_member"].astype(np.int64))


def lacking(part: Part, columns: Mapping[str, ColumnSpec]) -> dict[int, str]:
    """The samples that lack a column's member: row -> the first column it lacks."""
    found: dict[int, str] = {}
    for name, column in columns.items():
        for row in np.flatnonzero(~part.has(column.extensions)).tolist():
            found.setdefault(row, name)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Place:
    """Where one sample lies."""

    shard: int
    key: str
    members: dict[str, Member]


class Index:
    """Samples by position, in manifest order."""

    def __init__(self, file: ArrayFile) -> None:
        """Wrap what :func:`read_arrays` or :meth:`of` made.

        Raises:
            ShardError: arrays are missing or do not fit each other.
        """
        self.head, self.arrays = file.head, file.arrays
        self.extensions: tuple[str, ...] = tuple(file.head["extensions"])
        self.has_crc32 = bool(file.head["has_crc32"])
        rows, members = len(self.arrays["row_member"]), len(self.arrays["member_offset"])
        sizes = {len(self.arrays[name]) for name in ("member_size", "member_crc32", "member_extension")}
        ends = tuple(int(self.arrays[name][-1]) for name in ("shard_rows", "shard_members", "shard_keys"))
        if sizes != {members} or ends != (rows, members, len(self.arrays["keys"])):
            raise ShardError("an index's arrays do not fit each other: make it again.")

    def __len__(self) -> int:
        return len(self.arrays["row_member"])

    @cached_property
    def shard_starts(self) -> np.ndarray:
        """Position of each shard's first sample, and the number of samples at the end."""
        return np.asarray(self.arrays["shard_rows"]).astype(np.int64)

    def row(self, position: int) -> Place:
        """Where the sample at a position lies."""
        shard = int(np.searchsorted(self.shard_starts, position, side="right")) - 1
        first_member, first = self._bounds("row_member", "shard_members", shard, position)
        keys_from, keys_to = self._bounds("row_key", "shard_keys", shard, position)
        arrays, span = self.arrays, slice(first_member, first)
        members = {
            self.extensions[extension]: Member(offset, size, crc32 if self.has_crc32 else None)
            for extension, offset, size, crc32 in zip(
                arrays["member_extension"][span].tolist(),
                arrays["member_offset"][span].tolist(),
                arrays["member_size"][span].tolist(),
                arrays["member_crc32"][span].tolist(),
                strict=True,
            )
        }
        return Place(shard, arrays["keys"][keys_from:keys_to].tobytes().decode("utf-8"), members)

    def sizes(self, extensions: Collection[str]) -> np.ndarray:
        """Bytes of each sample's members with one of these extensions, together; int64."""
        ids = [number for number, extension in enumerate(self.extensions) if extension in extensions]
        counted = np.where(np.isin(self.arrays["member_extension"], ids), self.arrays["member_size"], 0)
        rows = np.diff(self.shard_starts)
        bases = np.asarray(self.arrays["shard_members"])[:-1].astype(np.int64)
        starts = np.asarray(self.arrays["row_member"]).astype(np.int64) + np.repeat(bases, rows)
        return np.add.reduceat(counted.astype(np.int64), starts)

    def _bounds(self, name: str, shards: str, shard: int, position: int) -> tuple[int, int]:
        base = int(self.arrays[shards][shard])
        last = position + 1 == self.shard_starts[shard + 1]
        end = int(self.arrays[shards][shard + 1]) if last else base + int(self.arrays[name][position + 1])
        return base + int(self.arrays[name][position]), end

    @classmethod
    def of(cls, parts: Sequence[Part], *, has_crc32: bool) -> Index:
        """Join parts in memory."""
        head, pieces = joined(parts, has_crc32=has_crc32)
        arrays = {
            name: np.concatenate([np.zeros(0, each.dtype), *each.pieces]).astype(each.dtype)
            for name, each in pieces.items()
        }
        return cls(ArrayFile(head, arrays))


def joined(parts: Sequence[Part], *, has_crc32: bool) -> tuple[dict[str, Any], dict[str, Pieces]]:
    """Join the parts' arrays lazily: the head and the arrays of an index."""
    extensions = sorted({extension for part in parts for extension in part.extensions})
    number = {extension: index for index, extension in enumerate(extensions)}
    tables = [np.array([number[extension] for extension in part.extensions], np.uint16) for part in parts]
    counts = {
        "shard_rows": [part.rows for part in parts],
        "shard_members": [len(part.arrays["member_offset"]) for part in parts],
        "shard_keys": [len(part.arrays["keys"]) for part in parts],
    }
    pieces = {name: Pieces.of(np.cumsum([0, *each]).astype(np.uint64)) for name, each in counts.items()}
    for name, dtype in (
        ("row_member", "uint32"),
        ("row_key", "uint32"),
        ("member_offset", "uint64"),
        ("member_size", "uint32"),
        ("member_crc32", "uint32"),
        ("keys", "uint8"),
    ):
        items = sum(len(part.arrays[name]) for part in parts)
        pieces[name] = Pieces(dtype, items, [part.arrays[name] for part in parts])
    translated = (table[part.arrays["member_extension"]] for table, part in zip(tables, parts, strict=True))
    pieces["member_extension"] = Pieces("uint16", pieces["member_size"].items, translated)
    return {"version": VERSION, "extensions": extensions, "has_crc32": has_crc32}, pieces


def shards_digest(shards: Sequence[ShardInfo]) -> str:
    """Digest of which shards, with which bytes and rows, an index is of."""
    facts = [[shard.path, shard.rows, shard.bytes, shard.sha256] for shard in shards]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def write_index(path: Path, parts: Sequence[Part], shards: Sequence[ShardInfo]) -> None:
    """Write an index whole or not at all."""
    head, pieces = joined(parts, has_crc32=True)
    write_arrays(path, {**head, "shards": shards_digest(shards)}, pieces)


def read_index(path: Path, shards: Sequence[ShardInfo]) -> Index:
    """Map an index.

    Raises:
        ShardError: missing, damaged, or made for other shards than the manifest names.
    """
    file = read_arrays(path)
    if file.head.get("version") != VERSION or file.head.get("shards") != shards_digest(shards):
        raise ShardError(f"index '{path}' was made for other shards than its manifest names. Make it again.")
    try:
        return Index(file)
    except (KeyError, TypeError, IndexError) as error:
        raise ShardError(f"index '{path}' lacks an array: {error}. Make it again.") from error


def _starts(lengths: list[int]) -> np.ndarray:
    ends = np.cumsum([0, *lengths])
    assert ends[-1] < 1 << 32, "one shard's members and keys are counted in 32 bits"
    return ends[:-1].astype(np.uint32)
