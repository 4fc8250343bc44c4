"""Tar bytes made by the standard library, and single faults put into them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from mmcontrast.data.limits import Limits
from mmcontrast.data.shard_rows import ShardRows, read_shard

BLOCK = 512


def tar_bytes(members: list[tuple[str, bytes]], *, format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A plain tar of regular files in the order given."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def pairs(rows: int = 10, *, size: int = 700) -> list[tuple[str, bytes]]:
    """Members of ``rows`` samples: a made-up picture and a caption, both of which name their key."""
    members = []
    for number in range(rows):
        key = f"row-{number:04d}"
        picture = (f"picture of {key};".encode() * (1 + size // 20))[: size + 13 * number]
        members += [(f"{key}.jpg", picture), (f"{key}.txt", f"caption of {key}".encode())]
    return members


def scanned(
    path: Path, content: bytes, *, contents: bool = True, join: bool = False, limits: Limits | None = None
) -> ShardRows:
    """Write bytes to a file and read it as a shard."""
    path.write_bytes(content)
    return read_shard(path, limits=limits or Limits(), contents=contents, join_split_keys=join)


def kinds(found: ShardRows) -> set[str]:
    """Kinds of the problems that were found."""
    return {problem.kind for problem in found.problems}


def header_offsets(content: bytes) -> dict[str, int]:
    """Where the standard library finds each member's header."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        return {entry.name: entry.offset for entry in tar}
