"""The ``mmcontrast data`` commands: index shards, show what a set holds, verify every byte and decode."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``data``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("index", help="read every header and byte of shards; write index.bin and manifest.json")
    add.add_argument("where", help="a folder, a glob, or a pattern such as 'https://host/x-{000..099}.tar'")
    add.add_argument("--out", type=Path, help="folder of manifest.json and index.bin; default: the shards' own")
    add.add_argument("--name", help="name of the set; default: the folder's")
    add.add_argument(
        "--column", action="append", default=[], metavar="NAME=EXTENSION[:FIELD]", help="image=jpg, text=json:caption"
    )
    add.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: one a core")
    add.add_argument("--join-split-keys", action="store_true", help="members of one sample may lie apart in a tar")
    add.add_argument("--again", action="store_true", help="describe shards as they are, where a manifest differs")
    add.add_argument("--cache", type=Path, help="folder that remote shards are fetched into")
    add.set_defaults(call=_index)
    add = commands.add_parser("show", help="columns, shards, rows, problems of a set; or one row of it")
    add.add_argument("where", help="a folder with manifest.json, or package:NAME")
    add.add_argument("--row", type=int, help="show the members of the row at this position")
    add.set_defaults(call=_show)
    add = commands.add_parser("verify", help="compare every shard with its manifest and index, and decode every row")
    add.add_argument("where", help="a folder with manifest.json, or package:NAME")
    add.add_argument("--no-decode", action="store_true", help="checksums alone")
    add.add_argument("--out", type=Path, help="file for one JSON line a bad row")
    add.set_defaults(call=_verify)


def _index(parsed: argparse.Namespace) -> int:
    from mmcontrast.data.guess_columns import parse_column
    from mmcontrast.data.indexing import PROBLEMS_FILE, IndexOptions, index_set
    from mmcontrast.data.storage import Storage

    storage = Storage() if parsed.cache is None else Storage(cache=parsed.cache)
    options = IndexOptions(
        workers=parsed.workers, join_split_keys=parsed.join_split_keys, again=parsed.again, storage=storage
    )
    done = index_set(
        parsed.where,
        out=parsed.out,
        name=parsed.name,
        columns=dict(parse_column(text) for text in parsed.column) or None,
        options=options,
        say=lambda line: print(line, flush=True),
    )
    manifest = done.manifest
    print(f"{done.folder}: {manifest.rows:,} rows in {len(manifest.shards):,} shards")
    for name, column in manifest.columns.items():
        print(f"  {name}: .{column.extension}" + (f", field '{column.field}'" if column.field else ""))
    if done.bytes_read:
        print(f"  read {done.bytes_read / 1e6:,.0f} MB in {done.seconds:.1f} s")
    if done.ignored:
        print(f"  files no column can read: {_counts(done.ignored)}")
    if done.problems:
        print(f"  {done.lost:,} samples lost. Findings: {_counts(done.problems)}")
        print(f"  each in {done.folder / PROBLEMS_FILE}")
    return 0


def _show(parsed: argparse.Namespace) -> int:
    from mmcontrast.data.indexing import PROBLEMS_FILE
    from mmcontrast.data.shards import ShardSet

    shards = ShardSet(parsed.where)
    if parsed.row is not None:
        return _show_row(parsed.row, shards)
    manifest = shards.manifest
    size = sum(shard.bytes for shard in manifest.shards)
    print(f"{manifest.name}: {len(shards):,} rows in {len(manifest.shards):,} shards, {size / 1e6:,.1f} MB")
    for name, column in manifest.columns.items():
        print(f"  {name}: {column.modality}, .{column.extension}" + (f", '{column.field}'" if column.field else ""))
    for name, label in manifest.labels.items():
        print(f"  label {name}: field '{label.field}', {len(label.classes):,} classes")
    if manifest.licences:
        print(f"  licences: {_counts(manifest.licences)}")
    checked = "with crc32 of every member" if shards.index.has_crc32 else "none: made from the headers at every start"
    print(f"  index: {checked}")
    listed = shards.folder / PROBLEMS_FILE
    if listed.is_file():
        kinds = Counter(json.loads(line)["kind"] for line in listed.read_text("utf-8").splitlines())
        if kinds:
            print(f"  problems: {_counts(kinds)}")
    return 0


def _show_row(row: int, shards: object) -> int:
    from mmcontrast.data.shards import ShardSet
    from mmcontrast.errors import ConfigError

    assert isinstance(shards, ShardSet)
    if not 0 <= row < len(shards):
        raise ConfigError(f"--row {row}: the set has rows 0 to {len(shards) - 1}.")
    place, raw = shards.index.row(row), shards[row]
    print(raw.key)
    for extension, member in place.members.items():
        print(f"  .{extension}: {member.size:,} bytes at byte {member.offset:,}")
        content = raw.members[extension]
        if extension in ("json", "txt"):
            print(f"    {content[:400].decode('utf-8', 'backslashreplace')}")
    return 0


def _verify(parsed: argparse.Namespace) -> int:
    from mmcontrast.data.verify import verify_set

    report = verify_set(parsed.where, decode=not parsed.no_decode, say=lambda line: print(line, flush=True))
    print(f"{report.rows:,} rows, {len(report.bad):,} of them bad, {len(report.findings):,} findings in headers")
    for cause, count in Counter(str(row["cause"]) for row in report.bad).most_common():
        print(f"  {cause}: {count:,}")
    for row in [*report.findings, *report.bad][:20]:
        print(f"  {json.dumps(row, ensure_ascii=False)}")
    if parsed.out is not None:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in (*report.findings, *report.bad))
        parsed.out.write_text("".join(lines), encoding="utf-8")
    return 1 if report.bad or report.findings else 0


def _counts(counts: dict[str, int] | Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered)
