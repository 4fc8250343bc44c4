"""Rows of a source, decoded, and their embeddings, computed once for all evaluators of a suite."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.shards import RawRow, ShardSet, open_shards
from mmcontrast.errors import ConfigError, SkipSample, did_you_mean
from mmcontrast.evaluate.base import Encoder, Shown

MediaKey = tuple[str, tuple[tuple[str, str], ...], str]


@dataclass(frozen=True)
class Item:
    """One row of a source that passed the filter."""

    position: int  # in the source
    key: str  # of the row, without set and shard
    info: dict[str, Any]  # its JSON member


class Rows:
    """The rows of a source that pass a filter and whose media decode; the others are named in ``missing``."""

    def __init__(self, source: str, where: dict[str, str]) -> None:
        """Read the rows' JSON members.

        Raises:
            ShardError: the source is missing or damaged.
            ConfigError: the filter names a field that no row has, or nothing passes it.
        """
        self.source = source
        self.shards: ShardSet = open_shards(source)
        self.items: list[Item] = []
        self.missing: list[str] = []
        seen: dict[str, set[str]] = {name: set() for name in where}
        fields: set[str] = set()
        for position in range(len(self.shards)):
            raw = self.shards[position]
            try:
                info = raw.info()
            except SkipSample as error:
                self.missing.append(str(error))
                continue
            fields.update(info)
            for name in where:
                seen[name].add(str(info.get(name)))
            if all(name in info and str(info[name]) == value for name, value in where.items()):
                self.items.append(Item(position, raw.key.rsplit("/", 1)[-1], info))
        if not self.items:
            raise ConfigError(_nothing_passes(source, where, seen, fields))

    def decode(self, modality: str, *, sample_rate_hz: int | None) -> list[Any]:
        """Decode one modality of every row; rows that fail are named in ``missing`` and leave ``items``.

        Raises:
            ConfigError: the source has no such column, or no row decodes.
        """
        column = self.shards.manifest.columns.get(modality)
        if column is None:
            known = ", ".join(self.shards.manifest.columns)
            raise ConfigError(f"'{self.source}' has no column '{modality}'; it has: {known}.")
        decoded, kept = [], []
        for item in self.items:
            raw = self.shards[item.position]
            try:
                decoded.append(_decode(raw, modality, column.extension, sample_rate_hz))
                kept.append(item)
            except SkipSample as error:
                self.missing.append(str(error))
        if not kept:
            raise ConfigError(f"no {modality} of '{self.source}' decodes; the first: {self.missing[0]}")
        self.items = kept
        return decoded

    def field(self, name: str) -> list[str]:
        """One JSON field of every row, as strings.

        Raises:
            ConfigError: a row lacks it.
        """
        for item in self.items:
            if name not in item.info:
                raise ConfigError(
                    f"'{self.source}' row '{item.key}' has no field '{name}'.{did_you_mean(name, item.info)} "
                    f"It has: {', '.join(item.info)}."
                )
        return [str(item.info[name]) for item in self.items]

    def keys(self) -> list[str]:
        """Every row's key."""
        return [item.key for item in self.items]

    def digests(self, modality: str) -> list[bytes]:
        """A digest of every row's file of one modality: equal files are equal pictures or sounds."""
        extension = self.shards.manifest.columns[modality].extension
        return [hashlib.sha256(self.shards[item.position].members[extension]).digest() for item in self.items]

    def shown(
        self, number: int, modality: str, *, caption: str, right: bool | None = None, score: float | None = None
    ) -> Shown:
        """Name a picture or sound for a gallery."""
        position = self.items[number].position
        return Shown(kind=modality, caption=caption, source=self.source, position=position, right=right, score=score)


def _decode(raw: RawRow, modality: str, extension: str, sample_rate_hz: int | None) -> Any:
    if extension not in raw.members:
        raise SkipSample(f"{raw.key}: no .{extension} member")
    if modality == "image":
        return decode_image(raw.members[extension], key=raw.key)
    assert sample_rate_hz is not None, "sounds are decoded at the encoder's rate"
    return decode_audio(raw.members[extension], key=raw.key, sample_rate_hz=sample_rate_hz)


def _nothing_passes(source: str, where: dict[str, str], seen: dict[str, set[str]], fields: set[str]) -> str:
    for name, value in where.items():
        if name not in fields:
            known = ", ".join(sorted(fields))
            return f"'{source}' has no field '{name}'.{did_you_mean(name, fields)} It has: {known}."
        if value not in seen[name]:
            values = sorted(seen[name])
            some = ", ".join(values[:10]) + (", ..." if len(values) > 10 else "")
            return f"no row of '{source}' has {name} = '{value}'.{did_you_mean(value, values)} Values: {some}."
    return f"no row of '{source}' passes the filter {where}."


class Bench:
    """Encoders and the embeddings they have computed, shared by the evaluators of one suite."""

    def __init__(self, encoder: Encoder, untrained: Encoder | None = None, *, quiet: bool = True) -> None:
        self.encoders: dict[str, Encoder] = {"trained": encoder}
        if untrained is not None:
            self.encoders["untrained"] = untrained
        self._quiet = quiet
        self._media: dict[MediaKey, tuple[Rows, dict[str, Tensor]]] = {}
        self._texts: dict[tuple[str, str], Tensor] = {}  # (encoder, caption) -> (D,)

    def similarity(self, who: str) -> Callable[[Tensor, Tensor], Tensor]:
        """How one encoder's geometry compares points."""
        return self.encoders[who].geometry.similarity

    def media(self, source: str, where: dict[str, str], modality: str) -> tuple[Rows, dict[str, Tensor]]:
        """Return a source's rows and, for each encoder, their embeddings (N, D)."""
        key = (source, tuple(sorted(where.items())), modality)
        if key not in self._media:
            rows = Rows(source, where)
            rate = self.encoders["trained"].sample_rate_hz if modality == "audio" else None
            decoded = rows.decode(modality, sample_rate_hz=rate)
            label = None if self._quiet else f"{source.rsplit('/', 1)[-1]} {modality}"
            embedded = {who: each.encode(modality, decoded, progress=label) for who, each in self.encoders.items()}
            self._media[key] = (rows, embedded)
        return self._media[key]

    def texts(self, texts: list[str]) -> dict[str, Tensor]:
        """Embeddings of captions, for each encoder (N, D)."""
        import torch

        result = {}
        for who, encoder in self.encoders.items():
            new = [text for text in dict.fromkeys(texts) if (who, text) not in self._texts]
            if new:
                self._texts.update(zip(((who, text) for text in new), encoder.encode("text", new), strict=True))
            result[who] = torch.stack([self._texts[who, text] for text in texts])
        return result
