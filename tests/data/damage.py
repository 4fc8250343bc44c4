"""Damage to single rows of a set that is already written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmcontrast.data.shards import ShardSet


def overwrite(manifest: str, rows: Iterable[int], extension: str, content: bytes = b"<html>" * 6) -> list[str]:
    """Write over the first bytes of a member of some rows, as a failed download would; return the rows' keys."""
    shards = ShardSet(manifest)
    keys = []
    for row in rows:
        place = shards.index.row(row)
        member = place.members[extension]
        path = shards.shard_path(place.shard)
        damaged = bytearray(path.read_bytes())
        part = content[: member.size]
        damaged[member.offset : member.offset + len(part)] = part
        Path(path).write_bytes(bytes(damaged))
        keys.append(place.key)
    return keys
