"""What every maker of probes offers, and how it reads a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmcontrast.config import Count, config
from mmcontrast.data.transforms.captions import captions_of
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.evaluate.collection import Collection, Shards
from mmcontrast.probe_file import ProbeItem

MAX_CAPTION_BYTES = 8192
CAPTION_FIELDS = ("captions", "caption", "text", "label")  # looked for in this order where none is named


@config
class MakerConfig:
    """Fields of every maker."""

    seed: int = 0  # another seed draws other changes
    most: Count | None = None  # items of a category, drawn at random; null: all
    where: dict[str, str] = {}  # keep rows whose field has this value
    modality: Literal["image", "audio", "text"] | None = None  # of contexts; null: the set's pictures, else its sounds
    name: str = ""  # for the heads of reports; empty: the set's name and the kind


@config
class TextConfig(MakerConfig):
    """Fields of makers that change captions."""

    tagger: str = "light"  # what tells parts of speech: 'mmcontrast list taggers'
    field: str | None = None  # field of the captions; null: the manifest's text column, or captions, caption, text
    captions: Literal["first", "all"] = "first"  # of a row that are asked about


@dataclass(frozen=True)
class Captioned:
    """One row with captions."""

    key: str
    captions: tuple[str, ...]
    context: dict[str, Any]  # of items, see mmcontrast.probe_file

    @property
    def others(self) -> tuple[str, ...]:
        """All captions but the first: names of the same thing, which no wrong text may use."""
        return self.captions[1:]


class Maker:
    """Base of makers: a set's rows in, items out; what is left out is counted by its cause.

    A new one has a ``Config`` on ``MakerConfig`` or ``TextConfig``, ``modalities`` and ``items``.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "audio", "text")  # of contexts that it can ask about
    primary: ClassVar[str] = ""  # metric to look at first; empty: the evaluator's own

    class Config:
        """Fields of the maker."""

    def __init__(self, config: Any, *, collection: Collection) -> None:
        """Keep the set.

        Raises:
            ConfigError: it has no medium that this maker asks about, or no such rows.
        """
        self.config, self.collection = config, collection
        self.counts: Counter[str] = Counter()
        self.modality = self._modality()
        self.positions = self._positions()

    def _modality(self) -> str:
        has = [name.split(".")[0] for name in self.collection.modalities]
        asked = self.config.modality
        options = [each for each in self.modalities if each in (*has, "text")]
        if asked is not None and asked not in options:
            raise ConfigError(
                f"'{self.collection.name}' has {', '.join(has) or 'no media'}; this probe can be made of "
                f"{', '.join(options) or 'none of it'}, not of {asked}."
            )
        if not options:
            raise ConfigError(f"this probe is made of {' or '.join(self.modalities)}, which this set has not.")
        return asked or options[0]

    def _positions(self) -> list[int]:
        found = []
        for position in range(len(self.collection)):
            self.counts["rows"] += 1
            try:
                info = self.info(position) if self.config.where else {}
            except SkipSample:
                self.counts["unreadable"] += 1
                continue
            if all(str(info.get(name)) == value for name, value in self.config.where.items()):
                found.append(position)
            else:
                self.counts["not_asked_for"] += 1
        if not found:
            raise ConfigError(f"'{self.collection.name}': no row has {self.config.where}.")
        return found

    def info(self, position: int) -> dict[str, Any]:
        """Fields of a row.

        Raises:
            SkipSample: they are damaged.
        """
        return self.collection.info(position)

    def identity(self) -> dict[str, str] | None:
        """What told parts of speech; None where nothing did."""
        return None

    def items(self) -> Iterator[ProbeItem]:
        """Make the items; ``counts`` is whole after the last."""
        raise NotImplementedError

    def write_beside(self, folder: Path, items: Sequence[ProbeItem]) -> None:
        """Write further files into the probe's folder; nothing by default."""


def captions_at(collection: Collection, position: int, field: str | None) -> list[str]:
    """Captions of a row: of the field, else of the manifest's text column, else of a field with a usual name.

    Raises:
        SkipSample: there are none, or they are no text.
        ConfigError: the row has no such field.
    """
    key = collection.key(position)
    if field is None and isinstance(collection, Shards):
        column = collection.shards.manifest.columns.get("text")
        if column is not None and column.field is None:
            content = collection.content(position, "text")
            try:
                return captions_of(content.decode("utf-8"), key=key, max_bytes=MAX_CAPTION_BYTES)
            except UnicodeDecodeError as error:
                raise SkipSample(f"{key}: caption is not UTF-8", cause="caption_utf8") from error
        field = column.field if column is not None else None
    info = collection.info(position)
    if field is None:
        field = next((name for name in CAPTION_FIELDS if name in info), None)
    if field is None or field not in info:
        raise ConfigError(
            f"row '{key}' of '{collection.name}' has no field '{field or 'captions'}'; it has: {', '.join(info)}. "
            "Name its captions with field=NAME."
        )
    return captions_of(info[field], key=key, max_bytes=MAX_CAPTION_BYTES)


def unlike(texts: Sequence[str]) -> list[str]:
    """Texts without repetitions, in order."""
    return list(dict.fromkeys(texts))
