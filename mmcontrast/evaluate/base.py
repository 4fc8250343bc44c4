"""What evaluators share: metrics with their intervals and controls, reports, and embeddings computed once."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.shards import RawRow, ShardSet, open_shards
from mmcontrast.errors import ConfigError, SkipSample, did_you_mean
from mmcontrast.evaluate.intervals import wilson
from mmcontrast.geometry.base import Geometry

MIME = {
    "png": "image/png", "webp": "image/webp", "jpg": "image/jpeg", "jpeg": "image/jpeg",
    "ogg": "audio/ogg", "opus": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg",
}  # fmt: skip


class Encoder(Protocol):
    """What an evaluator may use of a model."""

    geometry: Geometry
    modalities: tuple[str, ...]

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that ``encode`` expects."""

    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        """Embed items: (N, D) float32 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number, how sure it is, and what knowing nothing would give."""

    value: float
    low: float  # 95% interval
    high: float
    count: int  # queries behind it
    chance: float | None = None
    controls: dict[str, float] = field(default_factory=dict)  # shuffled, constant, untrained


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture, sound or caption of a gallery."""

    kind: str  # image | audio | text
    content: str  # a data URI, or the caption
    caption: str = ""
    right: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query and its best answers."""

    query: Shown
    answers: list[Shown]
    right: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one evaluator found."""

    evaluator: str
    metrics: dict[str, Metric]
    primary: str
    num_rows: int
    missing: list[str] = field(default_factory=list)  # one message a row that did not decode
    facts: dict[str, Any] = field(default_factory=dict)  # tie rates, pool sizes, prompts
    classes: dict[str, tuple[float, int]] = field(default_factory=dict)  # class -> (accuracy, rows)
    confusion: dict[str, Any] | None = None  # names and counts
    gallery: list[Example] = field(default_factory=list)
    title: str = ""


def proportion(hits: Tensor, *, chance: float | None, controls: dict[str, float]) -> Metric:
    """Metric of a share of hits, with Wilson's interval."""
    low, high = wilson(float(hits.sum()), len(hits))
    return Metric(
        value=float(hits.mean()), low=low, high=high, count=len(hits), chance=chance, controls=controls
    )


@dataclass(frozen=True)
class Item:
    """One decoded row of a source."""

    raw: RawRow
    info: dict[str, Any]


class Rows:
    """The rows of a source that pass a filter and decode, with their embeddings on demand."""

    def __init__(self, source: str, where: dict[str, str]) -> None:
        """Read the rows' JSON members.

        Raises:
            ConfigError: the filter names an unknown field, or nothing passes it.
        """
        self.source, self.where = source, where
        self.shards: ShardSet = open_shards(source)
        self.items: list[Item] = []
        self.missing: list[str] = []
        for position in range(len(self.shards)):
            raw = self.shards[position]
            info = raw.info()
            unknown = [name for name in where if name not in info]
            if unknown:
                raise ConfigError(f"'{source}' has no field '{unknown[0]}'.{did_you_mean(unknown[0], info)}")
            if all(str(info[name]) == value for name, value in where.items()):
                self.items.append(Item(raw, info))
        if not self.items:
            raise ConfigError(f"no row of '{source}' has {where}.")

    def decode(self, modality: str, *, sample_rate_hz: int | None) -> list[Any]:
        """Decode one modality of every row; rows that fail are named in ``missing`` and dropped from ``items``."""
        column = self.shards.manifest.columns.get(modality)
        if column is None:
            known = ", ".join(self.shards.manifest.columns)
            raise ConfigError(f"'{self.source}' has no column '{modality}'; it has: {known}.")
        decoded, kept = [], []
        for item in self.items:
            try:
                content = item.raw.members[column.extension]
                if modality == "image":
                    decoded.append(decode_image(content, key=item.raw.key))
                else:
                    assert sample_rate_hz is not None
                    decoded.append(decode_audio(content, key=item.raw.key, sample_rate_hz=sample_rate_hz))
                kept.append(item)
            except (SkipSample, KeyError) as error:
                self.missing.append(str(error))
        self.items = kept
        return decoded

    def field(self, name: str) -> list[str]:
        """One JSON field of every row.

        Raises:
            ConfigError: a row lacks it.
        """
        for item in self.items:
            if name not in item.info:
                raise ConfigError(f"'{self.source}' has no field '{name}'.{did_you_mean(name, item.info)}")
        return [str(item.info[name]) for item in self.items]

    def shown(self, position: int, modality: str, *, caption: str = "", right: bool | None = None) -> Shown:
        """A picture or sound as a data URI."""
        extension = self.shards.manifest.columns[modality].extension
        content = base64.b64encode(self.items[position].raw.members[extension]).decode()
        return Shown(
            kind=modality, content=f"data:{MIME[extension]};base64,{content}", caption=caption, right=right
        )


class Bench:
    """Encoders and the embeddings they have computed, shared by the evaluators of one suite."""

    def __init__(self, encoder: Encoder, untrained: Encoder | None = None, *, quiet: bool = False) -> None:
        self.encoders: dict[str, Encoder] = {"trained": encoder}
        if untrained is not None:
            self.encoders["untrained"] = untrained
        self._quiet = quiet
        self._rows: dict[tuple[str, tuple[tuple[str, str], ...], str], tuple[Rows, dict[str, Tensor]]] = {}

    def media(self, source: str, where: dict[str, str], modality: str) -> tuple[Rows, dict[str, Tensor]]:
        """Return a source's rows and, for each encoder, their embeddings (N, D)."""
        key = (source, tuple(sorted(where.items())), modality)
        if key not in self._rows:
            rows = Rows(source, where)
            rate = self.encoders["trained"].sample_rate_hz if modality == "audio" else None
            decoded = rows.decode(modality, sample_rate_hz=rate)
            label = None if self._quiet else f"{source.rsplit('/', 1)[-1]} {modality}"
            self._rows[key] = (
                rows,
                {name: encoder.encode(modality, decoded, progress=label) for name, encoder in self.encoders.items()},
            )
        return self._rows[key]

    def texts(self, texts: list[str]) -> dict[str, Tensor]:
        """Embeddings of captions, for each encoder (N, D)."""
        return {name: encoder.encode("text", texts) for name, encoder in self.encoders.items()}


def shuffled(ids: Tensor, *, seed: int = 0) -> Tensor:
    """The same ids in another order: which caption belongs to which row is now wrong."""
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))]


def constant_like(z: Tensor) -> Tensor:
    """The same point for every row: the control that must earn nothing from ties."""
    return z[:1].expand(len(z), -1)
