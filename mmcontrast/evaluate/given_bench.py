"""Given embeddings or scores in the place of an encoder: every evaluator runs on them as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import ConfigError, MetricError, NeedsError, did_you_mean
from mmcontrast.evaluate.base import Shown
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.given import Table
from mmcontrast.geometry.base import Geometry

SAME = 1e-5  # largest difference of coordinates between two vectors of one text


class GivenSet:
    """Rows with a vector a modality, as a collection."""

    prompts: tuple[str, ...] = ()

    def __init__(
        self, name: str, points: dict[str, Tensor], infos: list[dict[str, Any]], *, classes: tuple[str, ...] = ()
    ) -> None:
        self.name, self.points, self.classes = name, points, classes
        self.modalities = tuple(sorted(points))
        self.queries: list[dict[str, Any]] = []
        self._infos = infos
        self._files: list[Path] = []

    @staticmethod
    def of(name: str, tables: Sequence[Table], *, classes: tuple[str, ...] = ()) -> GivenSet:
        """Put the media's tables of one set together, row by row.

        Raises:
            MetricError: different numbers of rows, or a key twice.
        """
        sizes = {f"{table.path}, {table.name}": len(table.values) for table in tables}
        if len(set(sizes.values())) > 1:
            listing = "; ".join(f"{where}: {rows:,} rows" for where, rows in sizes.items())
            raise MetricError(f"the media of one set stand side by side, but {listing}.")
        infos = [{"key": str(row)} for row in range(next(iter(sizes.values())))]
        for table in tables:
            for info, fields in zip(infos, table.fields, strict=True):
                info.update(fields)
        seen: set[str] = set()
        for info in infos:
            if str(info["key"]) in seen:
                raise MetricError(f"set '{name}': the key '{info['key']}' is there twice.")
            seen.add(str(info["key"]))
        made = GivenSet(name, {table.name: table.values for table in tables}, infos, classes=classes)
        made._files = sorted({table.path for table in tables})
        return made

    def __len__(self) -> int:
        return len(self._infos)

    def key(self, position: int) -> str:
        """The field ``key``, or the row's number."""
        return str(self._infos[position]["key"])

    def info(self, position: int) -> dict[str, Any]:
        """Fields of a row."""
        return self._infos[position]

    def content(self, position: int, modality: str) -> bytes:
        """Bytes of the vector: rows of equal vectors are taken for the same picture or sound."""
        return self.points[modality][position].numpy().tobytes()

    def extension(self, position: int, modality: str) -> str:
        """Nothing that could be shown."""
        return ""

    def facts(self) -> dict[str, Any]:
        """Name, rows, and the files' digests as one."""
        digest = "+".join(file_sha256(path) for path in self._files)
        return {"name": self.name, "rows": len(self), "manifest_sha256": digest, "licences": {}}


@dataclass(frozen=True)
class Texts:
    """Vectors of strings."""

    points: Tensor  # (M, D)
    strings: list[str]
    path: Path

    @staticmethod
    def of(table: Table) -> Texts:
        """Take the field ``text`` for the strings; without it the rows' numbers are.

        Raises:
            MetricError: a text twice, with two different vectors.
        """
        strings = [str(fields.get("text", row)) for row, fields in enumerate(table.fields)]
        first: dict[str, int] = {}
        for row, text in enumerate(strings):
            other = first.setdefault(text, row)
            if other != row and (table.values[row] - table.values[other]).abs().max() > SAME:
                raise MetricError(f"'{table.path}': '{text}' is there twice, as rows {other} and {row} that differ.")
        return Texts(table.values, strings, table.path)


def classes_among(texts: Table) -> tuple[str, ...]:
    """Every text once, but those whose field ``class`` is false: all of them stand in a classifier's pool."""
    strings = Texts.of(texts).strings
    kept = [str(fields.get("class", True)).lower() not in ("false", "0") for fields in texts.fields]
    return tuple(dict.fromkeys(text for text, keep in zip(strings, kept, strict=True) if keep))


def with_captions(media: list[Table], texts: Table) -> list[Table]:
    """Give rows without a field ``caption`` theirs: the texts whose field ``of`` names them, or of the same number.

    Raises:
        ConfigError: ``of`` names no row.
    """
    first, strings = media[0], Texts.of(texts).strings
    if any("caption" in row for table in media for row in table.fields):
        return media
    named = ["of" in fields for fields in texts.fields]
    if not any(named) and len(strings) != len(first.values):
        return media  # texts are classes, not captions
    keys = [str(fields.get("key", row)) for row, fields in enumerate(first.fields)]
    captions: dict[str, list[str]] = defaultdict(list)
    for row, text in enumerate(strings):
        owner = str(texts.fields[row].get("of", "")) if any(named) else keys[row]
        if owner not in keys:
            raise ConfigError(
                f"'{texts.path}' row {row}: its field 'of' names '{owner}', which is no key of '{first.path}'."
            )
        captions[owner].append(text)
    fields = [
        {**old, **({"caption": found[0] if len(found) == 1 else found} if (found := captions[key]) else {})}
        for key, old in zip(keys, first.fields, strict=True)
    ]
    return [Table(first.name, first.values, fields, first.path), *media[1:]]


class GivenRows(Rows):
    """Rows whose media are not there: galleries name them."""

    def values(self, name: str) -> list[Any]:
        """One field of every row.

        Raises:
            ConfigError: a row lacks it; where captions are missing, how texts become captions.
        """
        try:
            return super().values(name)
        except ConfigError as error:
            if name != "caption":
                raise
            raise ConfigError(
                f"{error} Texts are captions where there are as many as rows ({len(self.items):,}), or where each "
                "says with its field 'of' whose caption it is."
            ) from error

    def shown(
        self, number: int, modality: str, *, caption: str, right: bool | None = None, score: float | None = None
    ) -> Shown:
        """Name one row."""
        words = f"{modality} {self.items[number].key}" + (f": {caption}" if caption else "")
        return Shown(kind="text", caption=words, right=right, score=score)


class GivenEncoder:
    """Says what was given; encodes nothing."""

    def __init__(self, geometry: Geometry, modalities: Sequence[str]) -> None:
        self.geometry, self.modalities = geometry, tuple(sorted(modalities))

    @property
    def sample_rate_hz(self) -> int:
        """Nothing is decoded."""
        raise NeedsError("given embeddings have no sample rate.")

    @property
    def window_seconds(self) -> float | None:
        """Nothing is decoded: whoever made the embeddings heard what was heard."""
        return None

    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        """Refuse."""
        raise NeedsError(f"only given embeddings are there, no model that could embed this {modality}.")


class GivenBench(Bench):
    """What :class:`Bench` answers, from vectors that are there already."""

    def __init__(self, sets: dict[str, GivenSet], texts: Texts | None, *, geometry: Geometry) -> None:
        modalities = {name for each in sets.values() for name in each.modalities}
        super().__init__(GivenEncoder(geometry, [*modalities, *(["text"] if texts else [])]))
        self._sets, self._given = sets, texts
        self._place = {} if texts is None else {text: row for row, text in reversed(list(enumerate(texts.strings)))}

    def rows(self, source: str, where: dict[str, str]) -> Rows:
        """Rows of one of the sets.

        Raises:
            ConfigError: there is no such set, or nothing passes the filter.
        """
        if source not in self._sets:
            raise ConfigError(f"no set is named '{source}': there are {', '.join(self._sets)}.")
        self.opened[source] = self._sets[source]
        return GivenRows(source, where, self._sets[source])

    def media(self, source: str, where: dict[str, str], modality: str) -> tuple[Rows, dict[str, Tensor]]:
        """Rows and their vectors."""
        rows = self.rows(source, where)
        rows.check_modality(modality)
        return rows, {"trained": self._sets[source].points[modality][[item.position for item in rows.items]]}

    def texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Vectors of texts.

        Raises:
            ConfigError: one is not there.
        """
        if self._given is None:
            raise ConfigError("the evaluator reads texts, but no text was given.")
        missing = [text for text in texts if text not in self._place]
        if missing:
            raise ConfigError(
                f"'{self._given.path}' lacks {len(set(missing)):,} texts that the evaluator asks for, the first is "
                f"'{missing[0]}'.{did_you_mean(missing[0], self._place)}"
            )
        return {"trained": self._given.points[[self._place[text] for text in texts]]}

    def bags(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Nothing: these texts were not given."""
        return {}

    def unordered(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Nothing: single words were not given."""
        return {}


class Lookup(Geometry):
    """Scores in the place of similarities: a point is its side (0: row, 1: column) and its number."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__(None)
        self._scores = scores

    @staticmethod
    def points(side: int, count: int) -> Tensor:
        """Points of all rows or columns: (N, 2) float64, as numbers must stay exact."""
        return torch.stack([torch.full((count,), float(side)), torch.arange(count)], dim=1).double()

    def project(self, vectors: Tensor) -> Tensor:
        """Points stay as they are."""
        return vectors

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Scores of rows with columns, either way round."""
        sides, first, second = (int(a[0, 0]), int(b[0, 0])), a[:, 1].long(), b[:, 1].long()
        if sides == (0, 1):
            return self._scores[first[:, None], second[None]]
        if sides == (1, 0):
            return self._scores[second[None], first[:, None]]
        raise ConfigError("the evaluator compares rows with rows; these scores are of rows with columns.")

    def mean(self, points: Tensor) -> Tensor:
        """Refuse: scores of several prompts are no score of their mean."""
        raise ConfigError("scores of several prompts cannot be averaged: give one column a class, and one prompt.")
