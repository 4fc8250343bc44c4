"""``mmcontrast probe make``: a frozen probe from any captioned or labelled set."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import yaml

import mmcontrast
from mmcontrast.config import apply_overrides, parse, to_tree
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection, open_collection
from mmcontrast.evaluate.readers.base import read_described
from mmcontrast.probe_file import HEADER, ProbeHeader, write_probe
from mmcontrast.probes import MAKERS

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
SOURCE_FILE = "source.yaml"  # in the probe's folder: what describes a table that was named by itself
MOST_CAUSES = 8


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``probe``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("make", help="make a frozen probe from any captioned or labelled set")
    add.add_argument("kind", metavar="KIND", help="a name of 'mmcontrast list probes'")
    add.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="DATASET",
        help="a manifest's folder, package:NAME, READER:FOLDER, a YAML file of a reader, or a csv, tsv or jsonl table",
    )
    add.add_argument("--out", type=Path, required=True, help="a new folder")
    add.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="key=value",
        help="fields of the kind, such as seed=1 tagger=spacy",
    )
    add.set_defaults(call=_make)


def make_probe(kind: str, source: str, out: Path, settings: list[str] | None = None) -> ProbeHeader:
    """Make a probe and write its folder; the same set, kind and settings give the same bytes.

    Args:
        settings: dotted.path=value of the kind's ``Config``; for a table by itself also ``media.image=COLUMN`` or
            ``media.audio=COLUMN``, its column of file names.

    Raises:
        ConfigError: the folder exists, no such kind, field or tagger, or nothing in the set can be asked about.
        MissingData: the set is not there.
    """
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ConfigError(f"'{out}' exists. A probe is frozen: choose another folder, or remove this one.")
    maker_class = MAKERS.get(kind)
    tree = apply_overrides({}, settings or [])
    media = tree.pop("media", {})
    config = parse(maker_class.Config, tree, where=f"probe {kind}")
    table = Path(source) if Path(source).suffix in TABLES else None
    collection = _opened(source, media) if table is None else _opened_table(table, media)
    source = source if table is None else str(out / SOURCE_FILE)
    maker = MAKERS.build(config, collection=collection)
    items = list(maker.items())
    if not items:
        raise ConfigError(f"nothing in '{source}' can be asked about; left out: {in_words(maker.counts)}.")
    facts = collection.facts()
    rows = any(key in context for item in items for context in item.contexts for key in ("row", "sound", "scene"))
    header = ProbeHeader(
        kind=config.registry_name,
        name=config.name or f"{collection.name}: {config.registry_name}",
        modality=maker.modality,
        seed=config.seed,
        source=source if rows else None,
        source_sha256=facts["manifest_sha256"] if rows else None,
        tagger=maker.identity(),
        counts=dict(sorted(maker.counts.items())),
        made_by={"command": "mmcontrast probe make", "version": mmcontrast.__version__, "settings": to_tree(config)},
        licence="; ".join(sorted(facts["licences"])),
        primary=maker.primary,
    )
    if table is not None and rows:
        _write_source(out, table, media)
    written = write_probe(out, header, items)
    maker.write_beside(out, items)
    return written


def _make(parsed: argparse.Namespace) -> int:
    header = make_probe(parsed.kind, parsed.source, parsed.out, parsed.settings)
    print(f"{parsed.out / HEADER}  {header.items:,} items, {header.items_sha256[:16]}")
    print(f"  {in_words(header.counts)}")
    if header.tagger is not None:
        print(f"  parts of speech by {header.tagger['identity']}")
    return 0


def in_words(counts: dict[str, int]) -> str:
    """Counts by cause, most first."""
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_CAUSES]
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in ranked) or "nothing"


def _opened(source: str, media: dict[str, Any]) -> Collection:
    if media:
        raise ConfigError(f"media: for a table by itself alone; '{source}' says where its pictures and sounds are.")
    return open_collection(source)


def _opened_table(table: Path, media: dict[str, Any]) -> Collection:
    if not table.is_file():
        raise MissingData(f"no table at '{table}'.")
    with tempfile.TemporaryDirectory() as folder:
        return read_described(_write_source(Path(folder), table, media))


def _write_source(folder: Path, table: Path, media: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tree = {"type": "table", "root": str(table.resolve().parent), "file": table.name, "media": media}
    path = folder / SOURCE_FILE
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path
