"""Frozen probes: a folder with ``probe.json``, which says how they were made, and ``items.jsonl``, one item a line.

An item is a choice among a few: contexts (pictures, sounds or texts), texts, and which texts belong to which context.
The header holds the digest of the items, so that a probe that was edited by hand is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError, MissingData

FORMAT = "mmcontrast.probe/1"
HEADER, ITEMS = "probe.json", "items.jsonl"
MODALITIES = ("image", "audio", "text")
# What a context is, by the one key that it has besides "sha256" (of a file's bytes):
#   {"file": PATH}    a picture or sound below the probe's folder
#   {"row": KEY}      a row of the header's source
#   {"text": STRING}  a text
#   {"sound": MAP}    a sound put together from rows of the source: mmcontrast.evaluate.recipes
#   {"scene": MAP}    a picture put together from rows of the source: mmcontrast.evaluate.recipes
CONTEXTS = {"image": ("file", "row", "scene"), "audio": ("file", "row", "sound"), "text": ("text",)}
MAX_ITEMS_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ProbeHeader:
    """How a probe was made; ``items`` and ``items_sha256`` are filled in by :func:`write_probe`."""

    kind: str  # order, swap, negation, attribute, position, temporal, bias, or a name of one's own
    name: str  # for the heads of reports
    modality: str  # of the contexts: image, audio or text
    seed: int
    source: str | None = None  # what the contexts' rows belong to, as evaluators name sources; null: there are none
    source_sha256: str | None = None  # the source's manifest_sha256 when the probe was made
    tagger: dict[str, str] | None = None  # name, version and digest of what told parts of speech; null: nothing did
    counts: dict[str, int] = field(default_factory=dict)  # rows used, and rows left out by cause
    made_by: dict[str, Any] = field(default_factory=dict)  # command, options, version
    licence: str = ""
    primary: str = ""  # metric to look at first, such as "text macro"; empty: the evaluator's own
    items: int = 0
    items_sha256: str = ""
    format: str = FORMAT


@dataclass(frozen=True, kw_only=True)
class ProbeItem:
    """One choice."""

    id: str
    category: str  # metrics are also given for each, and as a mean over them
    contexts: list[dict[str, Any]]  # see CONTEXTS
    texts: list[str]
    right: list[list[int]]  # for each context, the positions of the texts that belong to it; none: a wrong context
    cluster: str = ""  # items of equal cluster are not independent (captions of one picture); empty: its own
    fields: dict[str, Any] = field(default_factory=dict)  # whatever else is known: template, level, perturbation


@dataclass(frozen=True)
class Probe:
    """A probe as it was read."""

    folder: Path
    header: ProbeHeader
    items: list[ProbeItem]


def write_probe(folder: Path, header: ProbeHeader, items: Iterable[ProbeItem]) -> ProbeHeader:
    """Write a probe: the same header and items give the same bytes.

    Args:
        folder: made if it is not there; the files of contexts lie in it already.

    Returns:
        The header, with the number of items and their digest.

    Raises:
        ConfigError: an item that could not be read again, two of one id, or none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest, seen = hashlib.sha256(), set[str]()
    partial = folder / f"{ITEMS}.partial"
    with partial.open("wb") as stream:
        for item in items:
            check_item(item, header, where=f"item '{item.id}'")
            if item.id in seen:
                raise ConfigError(f"'{folder}': two items are called '{item.id}'.")
            seen.add(item.id)
            line = json.dumps(asdict(item), ensure_ascii=False, sort_keys=True, allow_nan=False).encode() + b"\n"
            digest.update(line)
            stream.write(line)
    if not seen:
        partial.unlink()
        raise ConfigError(f"'{folder}': a probe needs at least one item; left out: {header.counts or 'nothing'}.")
    os.replace(partial, folder / ITEMS)
    written = ProbeHeader(**{**asdict(header), "items": len(seen), "items_sha256": digest.hexdigest()})
    partial = folder / f"{HEADER}.partial"
    partial.write_text(
        json.dumps(asdict(written), ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    os.replace(partial, folder / HEADER)
    return written


def read_probe(folder: Path) -> Probe:
    """Read a probe and check that it is what was written.

    Raises:
        MissingData: a file is not there.
        ConfigError: another format, items that were edited, or one that is damaged; names the line.
    """
    for name in (HEADER, ITEMS):
        if not (folder / name).is_file():
            raise MissingData(f"no file '{folder / name}'. 'mmcontrast probe make' writes probes.")
    header = _read_header(folder / HEADER)
    path = folder / ITEMS
    if path.stat().st_size > MAX_ITEMS_BYTES:
        raise ConfigError(f"'{path}' is over 1 GiB: not the items of a probe.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != header.items_sha256:
        raise ConfigError(
            f"'{path}' was changed after it was made: its sha256 is {found[:16]}..., '{HEADER}' says "
            f"{header.items_sha256[:16]}... Make the probe again with 'mmcontrast probe make'."
        )
    items = [_read_item(line, header, where=f"'{path}' line {n}") for n, line in enumerate(content.splitlines(), 1)]
    if len(items) != header.items:
        raise ConfigError(f"'{path}' holds {len(items):,} items, '{HEADER}' says {header.items:,}.")
    return Probe(folder, header, items)


def check_item(item: ProbeItem, header: ProbeHeader, *, where: str) -> None:
    """Refuse an item that no choice can be made of.

    Raises:
        ConfigError: says what is wrong with it, and where.
    """
    known = CONTEXTS.get(header.modality)
    if known is None:
        raise ConfigError(f"{where}: a probe's modality is one of {', '.join(MODALITIES)}, not '{header.modality}'.")
    for context in item.contexts:
        kinds = [key for key in context if key != "sha256"]
        if len(kinds) != 1 or kinds[0] not in known:
            raise ConfigError(f"{where}: a context of {header.modality} has one of {', '.join(known)}, not {kinds}.")
        if kinds[0] in ("row", "sound", "scene") and header.source is None:
            raise ConfigError(f"{where}: a context is made of rows, but the header names no source.")
    if not item.contexts or not item.texts or not all(isinstance(text, str) for text in item.texts):
        raise ConfigError(f"{where}: expected at least one context and texts that are strings.")
    if len(item.right) != len(item.contexts):
        raise ConfigError(f"{where}: {len(item.contexts)} contexts, but 'right' is for {len(item.right)}.")
    for places in item.right:
        if not all(isinstance(each, int) and 0 <= each < len(item.texts) for each in places):
            raise ConfigError(f"{where}: 'right' is {places}, expected positions among {len(item.texts)} texts.")
    if sum(map(len, item.right)) in (0, len(item.contexts) * len(item.texts)):
        raise ConfigError(f"{where}: 'right' is {item.right}: there is nothing to choose.")


def _read_header(path: Path) -> ProbeHeader:
    tree = _json_map(path.read_bytes(), where=f"'{path}'")
    if tree.get("format") != FORMAT:
        raise ConfigError(f"'{path}' is of format '{tree.get('format')}'; this version reads {FORMAT}.")
    try:
        header = ProbeHeader(**tree)
    except TypeError as error:
        raise ConfigError(f"'{path}' is no header of a probe: {error}.") from error
    if header.modality not in MODALITIES:
        raise ConfigError(f"'{path}': modality '{header.modality}' is none of {', '.join(MODALITIES)}.")
    return header


def _read_item(line: bytes, header: ProbeHeader, *, where: str) -> ProbeItem:
    tree = _json_map(line, where=where)
    try:
        item = ProbeItem(**tree)
        check_item(item, header, where=where)
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{where} is no item of a probe: {error}.") from error
    return item


def _json_map(content: bytes, *, where: str) -> dict[str, Any]:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: expected a map.")
    return tree
