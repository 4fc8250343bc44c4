"""What can be wrong with a shard: one name for each kind, and where it was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# Kind -> what it means.  Those marked LOST take the sample they name with them.
KINDS = {
    "empty_file": "the shard has no bytes",
    "not_a_tar": "no valid tar header anywhere",
    "compressed": "a compressed file: shards are plain tar",
    "bad_header": "a header's checksum is wrong; reading went on at the next valid header",
    "zero_header": "a header is a block of zeros with members after it",
    "data_after_end": "members follow the end-of-archive marker",
    "no_end_marker": "the file stops without the end-of-archive marker: cut at a member's end",
    "ragged_end": "the file's length is no multiple of 512 bytes",
    "huge_header": "an extended header is larger than the limit",
    "bad_extended_header": "an extended header cannot be parsed",
    "unsupported_type": "a member of a type that is not read: sparse, multi-volume, unknown",
    "special_file": "a device or a pipe",
    "dirty_padding": "bytes other than zero between a member and the next header",
    "no_key": "a file whose name has no key or no extension",
    "code_member": "a file that other loaders would unpickle or unpack; it is never opened",
    "truncated_member": "LOST: a member runs past the end of the file",
    "wrong_size": "LOST: a member's size leads past other headers, or data follows it instead of a header",
    "link": "LOST: a symbolic or hard link",
    "unsafe_path": "LOST: an absolute path, a path with '..', a backslash or control characters",
    "bad_name": "LOST: a name that is not UTF-8, or whose extended header was unreadable",
    "member_too_large": "LOST: a member over the limit, 64 MiB unless said otherwise",
    "empty_member": "LOST: a member without bytes",
    "duplicate_member": "LOST: two members of one sample have the same extension",
    "split_key": "LOST: a key comes back after other keys",
    "missing_member": "LOST: a sample lacks a column's member",
}
LOST = frozenset(kind for kind, meaning in KINDS.items() if meaning.startswith("LOST"))


@dataclass(frozen=True)
class Problem:
    """One finding in one shard."""

    kind: str  # one of KINDS
    offset: int  # byte in the shard where it was found
    detail: str
    key: str | None = None  # the sample it concerns

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"'{self.kind}' is not a kind of problem"

    def as_row(self, shard: str) -> dict[str, Any]:
        """The finding as one JSON row."""
        return {"shard": shard, **asdict(self), "lost": self.kind in LOST}
