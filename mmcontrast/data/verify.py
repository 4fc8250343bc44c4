"""Every checksum and every decode of a set: what training would meet, found beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.shard_rows import read_shard
from mmcontrast.data.shards import RawRow, ShardSet
from mmcontrast.data.storage import Storage
from mmcontrast.data.transforms.captions import captions_of
from mmcontrast.errors import SkipSample

VERIFY_HZ = 16_000  # rate that sounds are decoded to here


@dataclass(frozen=True)
class Verified:
    """What was found."""

    rows: int
    findings: list[dict[str, Any]] = field(default_factory=list)  # in headers, or shards that changed
    bad: list[dict[str, Any]] = field(default_factory=list)  # rows that cannot be used: key, cause, detail


def verify_set(
    location: str, *, decode: bool = True, limits: Limits | None = None, say: Callable[[str], None] = lambda _: None
) -> Verified:
    """Read a set whole.

    Raises:
        ShardError: the set cannot be opened.
    """
    limits = limits or Limits()
    shards = ShardSet(location, limits=limits, storage=Storage(on_shard_error="substitute", retries=0))
    report = Verified(len(shards))
    for number, shard in enumerate(shards.manifest.shards):
        found = read_shard(shards.shard_path(number), limits=limits, contents=True)
        report.findings.extend(problem.as_row(shard.path) for problem in found.problems)
        if found.sha256 != shard.sha256:
            report.findings.append(
                {"shard": shard.path, "kind": "changed", "detail": "its sha256 is not the manifest's", "lost": False}
            )
        starts = shards.index.shard_starts
        for position in range(int(starts[number]), int(starts[number + 1])):
            try:
                raw = shards[position]
                if decode:
                    for column in shards.manifest.columns.values():
                        decode_column(raw, column, limits=limits)
            except SkipSample as error:
                key = shards.index.row(position).key
                report.bad.append({"shard": shard.path, "key": key, "cause": error.cause, "detail": str(error)})
        say(f"{shard.path}: {shard.rows:,} rows read, {len(report.bad):,} bad so far")
    return report


def decode_column(raw: RawRow, column: ColumnSpec, *, limits: Limits) -> None:
    """Decode one cell and throw it away.

    Raises:
        SkipSample: it is missing or damaged.
    """
    if column.extension not in raw.members:
        raise SkipSample(f"{raw.key}: no .{column.extension} member", cause="missing_member")
    content = raw.members[column.extension]
    if column.modality == "image":
        decode_image(content, key=raw.key, limits=limits)
    elif column.modality == "audio":
        decode_audio(content, key=raw.key, sample_rate_hz=VERIFY_HZ, limits=limits)
    elif column.field is not None:
        captions_of(raw.info().get(column.field), key=raw.key, max_bytes=limits.caption_bytes)
    else:
        try:
            captions_of(content.decode("utf-8"), key=raw.key, max_bytes=limits.caption_bytes)
        except UnicodeDecodeError as error:
            raise SkipSample(f"{raw.key}: caption is not UTF-8", cause="caption_utf8") from error
