"""Columns of shards that came without a manifest, from their members' extensions and their first JSON members."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcontrast.data.index import Part
from mmcontrast.data.manifest import MODALITIES, ColumnSpec, is_url
from mmcontrast.data.remote import Cache
from mmcontrast.data.shard_rows import AUDIO, IMAGE, TEXT
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, ShardError

CAPTION_FIELDS = ("captions", "caption", "text", "TEXT", "title")
LEAST_SHARE = 0.5  # of all samples: what fewer have is no column


def guess_columns(
    heads: Sequence[dict[str, Any]], parts: Sequence[Part], folder: Path, storage: Storage
) -> dict[str, ColumnSpec]:
    """Guess from what most samples have.

    Raises:
        ShardError: fewer than two columns can be recognised.
    """
    rows = sum(part.rows for part in parts)
    counts: Counter[str] = Counter()
    for part in parts:
        for extension in part.extensions:
            counts[extension] += int(part.has((extension,)).sum())
    columns = {}
    for name, known in (("image", IMAGE), ("audio", AUDIO), ("text", TEXT)):
        found = [extension for extension, _ in counts.most_common() if extension in known]
        if found and sum(counts[extension] for extension in found) >= LEAST_SHARE * rows:
            columns[name] = ColumnSpec(modality=name, extension=";".join(found))
    if "text" not in columns and counts["json"] >= LEAST_SHARE * rows:
        field = _caption_field(heads, parts, folder, storage)
        if field is not None:
            columns["text"] = ColumnSpec(modality="text", extension="json", field=field)
    if len(columns) < 2:
        raise ShardError(
            f"only {sorted(columns) or 'no'} column(s) recognised among {rows} samples with "
            f"{dict(counts.most_common())}. Name them: --column image=jpg --column text=json:FIELD."
        )
    return columns


def parse_column(text: str) -> tuple[str, ColumnSpec]:
    """Parse ``NAME=EXTENSION`` or ``NAME=EXTENSION:FIELD``, as in ``text=json:caption``.

    Raises:
        ConfigError: not of this form, or not named after a modality.
    """
    name, equals, rest = text.partition("=")
    extension, _, field = rest.partition(":")
    modality = name.split(".")[0]
    if not equals or not extension or modality not in MODALITIES:
        raise ConfigError(f"'{text}' is no column. Expected image=jpg;png, audio=flac, or text=json:caption.")
    return name, ColumnSpec(modality=modality, extension=extension.lower().lstrip("."), field=field or None)


def _caption_field(
    heads: Sequence[dict[str, Any]], parts: Sequence[Part], folder: Path, storage: Storage
) -> str | None:
    for head, part in zip(heads, parts, strict=True):
        for row in range(min(part.rows, 3)):
            member = part.row(row).members.get("json")
            if member is None:
                continue
            path = Cache(storage).fetch(head["path"]) if is_url(head["path"]) else folder / head["path"]
            with path.open("rb") as stream:
                content = os.pread(stream.fileno(), member.size, member.offset)
            try:
                info = json.loads(content.decode("utf-8"))
            except (ValueError, RecursionError):  # a damaged one is found again when it is read; the next may tell
                continue
            for field in CAPTION_FIELDS:
                if isinstance(info, dict) and isinstance(info.get(field), str | list):
                    return field
    return None
