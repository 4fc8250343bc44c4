"""Probes that 'mmcontrast probe make' froze: a folder with probe.json and items.jsonl."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.evaluate.collection import Collection, open_collection, read_media
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import inside
from mmcontrast.evaluate.readers.choices import Asking
from mmcontrast.evaluate.recipes import Scene, Sound
from mmcontrast.probe_file import HEADER, Probe, ProbeItem, read_probe


@READERS.register("probe")
class FrozenProbe:
    """A folder that 'mmcontrast probe make' wrote; edited items, files and sources are refused.

    Contexts are files of the folder, rows of the source that the probe was made from, texts, or put together from
    rows by a recipe when they are read.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of probe.json
        source: str | None = None  # where the source lies now; null: as probe.json names it

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the contexts and the items."""
        probe = read_probe(self.config.root)
        header = probe.header
        rows = _Source(self.config.source or header.source, probe) if header.source is not None else None
        asking = Asking(header.name, modality=header.modality, licence=header.licence)
        for item in probe.items:
            contexts = [
                _context(asking, probe, item, number, rows.content if rows else _no_rows)
                for number in range(len(item.contexts))
            ]
            asking.ask(
                item.id, category=item.category, contexts=contexts, texts=item.texts, right=item.right,
                cluster=item.cluster, fields=item.fields,
            )  # fmt: skip
        return asking.listed()


class _Source:
    """Rows of the set that a probe was made from."""

    def __init__(self, source: str, probe: Probe) -> None:
        self._collection = open_collection(source)
        found = self._collection.facts()["manifest_sha256"]
        if probe.header.source_sha256 not in (None, found):
            raise ConfigError(
                f"'{probe.folder / HEADER}' was made from another state of '{source}': its digest is {found[:16]}..., "
                f"the probe's is {str(probe.header.source_sha256)[:16]}... Make the probe again."
            )
        self._place = {self._collection.key(position): position for position in range(len(self._collection))}
        self._modality = probe.header.modality
        self._name = source

    def content(self, key: str) -> bytes:
        """The file of a row.

        Raises:
            SkipSample: there is no such row, or it is damaged.
        """
        if key not in self._place:
            raise SkipSample(f"{key}: '{self._name}' has no such row")
        return self._collection.content(self._place[key], self._modality)


def _no_rows(key: str) -> bytes:
    raise SkipSample(f"{key}: the probe has no source")


def _context(asking: Asking, probe: Probe, item: ProbeItem, number: int, rows: Callable[[str], bytes]) -> str:
    context, where = item.contexts[number], f"'{probe.folder}' item '{item.id}'"
    extension = {"image": "png", "audio": "wav"}.get(probe.header.modality, "")
    if "text" in context:
        return asking.text(str(context["text"]))
    if "row" in context:
        key = str(context["row"])
        return asking.made(key, lambda: rows(key), extension=extension, info={"row": key})
    if "file" in context:
        name = str(context["file"])
        place, digest = inside(probe.folder, name), context.get("sha256")
        return asking.made(
            name, lambda: _unchanged(place, digest, key=name), extension=place.suffix.lstrip(".") or extension,
            info={"file": name, "sha256": digest},
        )  # fmt: skip
    key = f"{item.id} {number}"
    recipe = Sound.of(context["sound"], where=where) if "sound" in context else Scene.of(context["scene"], where=where)
    return asking.made(key, lambda: recipe.content(rows), extension=extension, info=dict(context))


def _unchanged(place: Path, digest: str | None, *, key: str) -> bytes:
    content = read_media(place, key=key)
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise SkipSample(f"{key}: '{place}' was changed after the probe was made")
    return content
