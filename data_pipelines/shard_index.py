"""The index of a set, made shard by shard as the shards are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmcontrast.data.array_file import Pieces, read_arrays, write_arrays
from mmcontrast.data.index import INDEX_FILE, Part, write_index
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import Manifest
from mmcontrast.data.shard_rows import read_shard

LARGEST_MEMBER = (1 << 32) - 1  # bytes that an index can say; whether so much may be read is the reader's limit


def write_part(path: Path, shard: Path) -> Path:
    """Read a finished shard back, and write where its members lie, with their crc32."""
    found = read_shard(shard, limits=Limits(member_bytes=LARGEST_MEMBER), contents=True)
    assert not found.problems, f"a shard that was just written is whole: {found.problems[0]}"
    part = Part.of(found.rows)
    write_arrays(path, {"extensions": part.extensions}, {name: Pieces.of(each) for name, each in part.arrays.items()})
    return path


def write_set_index(folder: Path, manifest: Manifest, parts: Sequence[Path]) -> Path:
    """Join the parts of a manifest's shards, in its order, to ``index.bin``."""
    files = [read_arrays(path) for path in parts]
    joined = [Part(tuple(file.head["extensions"]), file.arrays) for file in files]
    rows = [shard.rows for shard in manifest.shards]
    assert [part.rows for part in joined] == rows, "an index has the manifest's rows"
    write_index(folder / INDEX_FILE, joined, manifest.shards)
    return folder / INDEX_FILE
