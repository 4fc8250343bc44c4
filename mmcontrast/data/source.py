"""One manifest as an endless, seekable line of rows: position -> (epoch, row) -> decoded sample.

The order is a pure function of (manifest, seed, name), see :mod:`mmcontrast.data.order`; each row's randomness is
keyed by (seed, name, epoch, row).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

import numpy as np

from mmcontrast.config import OneOf, Positive, config
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Original
from mmcontrast.data.labels import Label, read_label
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.mixture import WhenDry
from mmcontrast.data.order import LineOrder, generator, stable_hash
from mmcontrast.data.row_captions import check_texts, read_captions
from mmcontrast.data.shards import RawRow, ShardSet, open_shards
from mmcontrast.data.storage import Storage
from mmcontrast.data.streaming import StreamConfig, StreamedShards, StreamOrder
from mmcontrast.data.transforms.audio import AudioTransform, check_audio, train_audio
from mmcontrast.data.transforms.captions import Captions
from mmcontrast.data.transforms.image import ImageTransform, train_image
from mmcontrast.data.transforms.jpeg import is_jpeg, train_jpeg
from mmcontrast.data.transforms.mix import Mix, mixed_wave
from mmcontrast.data.transforms.splice import Splice, joined_wave, read_excluded
from mmcontrast.data.transforms.text import TextTransform, train_text
from mmcontrast.data.transforms.window import random_window
from mmcontrast.errors import ConfigError, ShardError, SkipSample
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec


@config
class SourceConfig:
    """One named source of a mixture."""

    manifest: str  # folder with manifest.json, package:NAME for a set shipped with mmcontrast; with stream: tars
    weight: Positive | Literal["rows"] = 1.0  # share of the mixture's draws; rows: as many as the source has rows
    epochs: Positive = 1.0  # passes over its rows after which the source is dry
    when_dry: WhenDry = "repeat"  # then go on with more passes, drop out of the mixture, or stop the run
    where: dict[str, str] = {}  # keep only rows whose JSON field has this value
    group: str | None = None  # JSON field: rows of equal value are never each other's negatives
    splice: Splice | None = None  # two clips after each other, with their captions joined
    mix: Mix | None = None  # two clips at once, with their captions joined
    shuffle_captions: bool = False  # control: every row gets another row's captions, always the same ones
    image: ImageTransform = ImageTransform()
    audio: AudioTransform = AudioTransform()
    text: TextTransform = TextTransform()
    labels: dict[str, Label] = {}  # name that objectives read -> JSON field
    derive: dict[str, Annotated[Any, OneOf(DERIVATIONS)]] = {}  # column such as image.view2 -> how it is made
    stream: StreamConfig | None = None  # read a folder, glob or pattern of tars in order, without an index

    def __post_init__(self) -> None:
        if self.epochs != 1 and self.when_dry == "repeat":
            raise ValueError("epochs has no effect with when_dry: repeat. Set when_dry to drop or stop.")
        if self.stream is not None:
            without = SourceConfig(manifest=self.manifest)
            fields = ("where", "splice", "mix", "shuffle_captions", "when_dry")
            asked = [name for name in fields if getattr(self, name) != getattr(without, name)]
            asked += ["weight: rows"] if self.weight == "rows" else []
            if asked:
                raise ValueError(f"stream: {', '.join(asked)} need an index: 'mmcontrast data index'.")
        if "group" in self.labels:
            raise ValueError("labels: the label 'group' is read from the field that 'group' names. Set group.")


@dataclass(frozen=True)
class Decoded:
    """One row before its random changes: pictures, waveforms (or bytes of either), captions and labels."""

    key: str
    cells: dict[str, Any]
    group: int
    labels: dict[str, Any]
    parts: tuple[str, str] | None  # what the row is called as the first and as the second part of a spliced caption


@dataclass(frozen=True)
class Drawn:
    """One decoded and transformed row; columns the row lacks are not in ``values``."""

    key: str
    values: dict[str, Any]  # image: uint8 (3, S, S); audio: float32 (samples,), or a dict (fusion); text: str
    group: int  # -1: no group
    labels: dict[str, Any] = field(default_factory=dict)  # those that the row's source has


class Source:
    """Rows of one manifest by position in an endless shuffled line."""

    def __init__(
        self,
        config: SourceConfig,
        *,
        shards: ShardSet | StreamedShards,
        name: str,
        seed: int,
        specs: Mapping[str, InputSpec],
        order: LineOrder,
    ) -> None:
        """Find the rows.

        Args:
            shards: of the config's manifest; its limits hold for what is decoded too.
            specs: column name -> what its tower asks for; other columns are not decoded.
            order: where each row stands in the line, from :func:`line_order`.
        """
        self.config, self.name, self.seed, self.order = config, name, seed, order
        self.shards, self.limits = shards, shards.limits
        self.rows = matching_rows(shards, config.where, name=name)
        columns = self.shards.manifest.columns
        self.derived = {
            column: (DERIVATIONS.build(made), specs[column])
            for column, made in config.derive.items()
            if column in specs
        }
        originals = {made.config.of: spec for made, spec in self.derived.values()}
        self.specs = {column: spec for column, spec in (originals | dict(specs)).items() if column in columns}
        self._cache: dict[int, Decoded] = {}
        others = generator("order", seed, f"{name} captions", 0)
        self._captions_of = others.permutation(len(self.shards)) if config.shuffle_captions else np.empty(0, np.int64)
        self._excluded = read_excluded(config.splice.exclude) if config.splice is not None else frozenset()

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, position: int) -> tuple[int, int]:
        """Return (epoch, row) of a position in the line."""
        epoch, row = self.order.locate_one(position)
        return epoch, self.rows[row]

    def draw(self, position: int, *, cache: bool) -> Drawn:
        """Decode and transform the row at ``position``.

        Raises:
            SkipSample: the row is damaged.
        """
        epoch, row = self.locate(position)
        with _blamed(row):
            # A stream's rows have no number to keep them under.
            return self._draw(epoch, row, cache=cache and self.config.stream is None)

    def _draw(self, epoch: int, row: int, *, cache: bool) -> Drawn:
        decoded = self._decoded(row, cache=cache)
        if self.config.splice is not None:
            rng = generator("splice", self.seed, self.name, epoch, row)
            if rng.random() < self.config.splice.probability:
                decoded = self._spliced(decoded, self.rows[int(rng.integers(0, len(self)))], cache=cache)
        if self.config.mix is not None:
            rng = generator("mix", self.seed, self.name, epoch, row)
            if rng.random() < self.config.mix.probability:
                other = self._decoded(self.rows[int(rng.integers(0, len(self)))], cache=cache)
                decoded = self._mixed(decoded, other, rng)
        key, cells, group = decoded.key, decoded.cells, decoded.group
        values: dict[str, Any] = {}
        for column, spec in self.specs.items():
            if column not in cells:
                continue
            make_rng = partial(generator, "row", self.seed, self.name, epoch, row, column)
            values[column] = self._view(cells[column], spec, make_rng, key=key)
        for column, (made, spec) in self.derived.items():
            of = made.config.of
            if of in values:
                view = partial(self._view, cells[of], spec, key=key)
                captions = cells[of] if isinstance(spec, TextSpec) else None
                make_rng = partial(generator, "row", self.seed, self.name, epoch, row, column)
                value = made.derive(Original(values[of], view, captions), make_rng)
                if value is not None:
                    values[column] = value
        return Drawn(key, values, group, decoded.labels)

    def _view(
        self, cell: Any, spec: InputSpec, make_rng: Callable[[], np.random.Generator], *, key: str, **changes: Any
    ) -> Any:
        """One cell's random view; pictures and sounds may still be bytes, of which only a part is decoded."""
        config = self.config
        if changes:
            modality = "image" if isinstance(spec, ImageSpec) else "text" if isinstance(spec, TextSpec) else "audio"
            config = replace(config, **{modality: replace(getattr(config, modality), **changes)})
        if isinstance(spec, ImageSpec):
            if isinstance(cell, bytes):
                return train_jpeg(cell, config.image, size=spec.size, make_rng=make_rng, key=key, limits=self.limits)
            return train_image(cell, config.image, size=spec.size, rng=make_rng())
        if isinstance(spec, TextSpec):
            return train_text(cell, config.text, make_rng)
        rng = make_rng()
        if isinstance(cell, bytes):
            window = random_window(cell, config.audio, spec, rng=rng, limits=self.limits)
            if window is None:
                rng = make_rng()
                window = decode_audio(cell, key=key, sample_rate_hz=spec.sample_rate_hz, limits=self.limits)
            cell = window
        return train_audio(cell, config.audio, spec, rng=rng, limits=self.limits)

    def _decoded(self, row: int, *, cache: bool) -> Decoded:
        found = self._cache.get(row)
        if found is None:
            with _blamed(row):
                joined = self.config.splice is not None or self.config.mix is not None
                found = self._decode(row, whole_sounds=cache or joined)
            if cache:
                self._cache[row] = found
        return found

    def _decode(self, row: int, *, whole_sounds: bool) -> Decoded:
        raw = self.shards[row]
        cells = {}
        for column, spec in self.specs.items():
            cell_spec = self.shards.manifest.columns[column]
            if self.config.shuffle_captions and isinstance(spec, TextSpec):
                other = int(self._captions_of[row])
                with _blamed(other):
                    cells[column] = self._decode_cell(self.shards[other], cell_spec, spec)
                continue
            content = raw.members.get(cell_spec.extension, b"")
            jpeg = isinstance(spec, ImageSpec) and self.config.image.decode != "exact" and is_jpeg(content)
            # What is decoded in part waits for its crop.
            waits = jpeg or (isinstance(spec, AudioSpec) and not whole_sounds and content)
            cells[column] = content if waits else self._decode_cell(raw, cell_spec, spec)
        group = -1
        if self.config.group is not None:
            info = raw.info()
            if self.config.group not in info:
                raise SkipSample(
                    f"{raw.key}: no field '{self.config.group}', which '{self.name}' groups by", cause="json_field"
                )
            group = stable_hash("group", info[self.config.group])
        splice, asked = self.config.splice, self.config.labels
        labels = {name: read_label(raw.info(), label, key=raw.key) for name, label in asked.items()}
        return Decoded(raw.key, cells, group, labels, None if splice is None else splice.parts(raw.info()))

    def _decode_cell(self, raw: RawRow, column: ColumnSpec, spec: InputSpec) -> Any:
        if isinstance(spec, TextSpec):
            return read_captions(raw, column, self.config.text, limits=self.limits)
        if column.extension not in raw.members:
            raise SkipSample(f"{raw.key}: no .{column.extension} member", cause="missing_member")
        content = raw.members[column.extension]
        if isinstance(spec, ImageSpec):
            return decode_image(content, key=raw.key, limits=self.limits)
        return decode_audio(content, key=raw.key, sample_rate_hz=spec.sample_rate_hz, limits=self.limits)

    def _spliced(self, first: Decoded, row: int, *, cache: bool) -> Decoded:
        """Put another row's clip after ``first``; ``first`` alone where the two may not or cannot be joined."""
        second, splice, spec = self._decoded(row, cache=cache), self.config.splice, self.specs.get("audio")
        assert splice is not None
        if not isinstance(spec, AudioSpec) or first.parts is None or second.parts is None:
            return first
        names = (first.parts[0], second.parts[1])
        if names[0] == names[1] or frozenset(names) in self._excluded:
            return first
        caption = splice.caption(*names)
        wave = joined_wave(
            first.cells["audio"],
            second.cells["audio"],
            samples=spec.samples,
            second_half=splice.second_field is not None,
        )
        cells = {**first.cells, "audio": wave, "text": Captions([caption])}
        return Decoded(first.key, cells, stable_hash("group", caption), first.labels, None)

    def _mixed(self, first: Decoded, second: Decoded, rng: np.random.Generator) -> Decoded:
        """Put another row's clip under ``first``; ``first`` alone where the two may not or cannot be mixed."""
        mix, spec = self.config.mix, self.specs.get("audio")
        assert mix is not None
        if not isinstance(spec, AudioSpec) or any(set(each.cells) != {"audio", "text"} for each in (first, second)):
            return first
        captions = first.cells["text"], second.cells["text"]
        if first.key == second.key or first.group == second.group != -1 or not all(each.texts for each in captions):
            return first
        caption = mix.caption(*captions, rng=rng)
        wave = mixed_wave(first.cells["audio"], second.cells["audio"], mix, samples=spec.samples, rng=rng)
        cells = {"audio": wave, "text": Captions([caption])}
        return Decoded(first.key, cells, stable_hash("group", caption), first.labels, None)


@contextmanager
def _blamed(row: int) -> Iterator[None]:
    """Say which row a failure inside of the block is about, unless a block further in has said it."""
    try:
        yield
    except SkipSample as error:
        error.row = row if error.row is None else error.row
        raise


def line_order(
    config: SourceConfig, *, shards: ShardSet | StreamedShards, name: str, seed: int, block_rows: int, lanes: int
) -> LineOrder:
    """The order of a source's rows.

    Raises:
        ConfigError: no row has the fields that ``where`` asks for.
    """
    if isinstance(shards, StreamedShards):
        return StreamOrder(len(shards))
    shard_rows = np.array([shard.rows for shard in shards.manifest.shards])
    if config.where:
        rows = np.asarray(matching_rows(shards, config.where, name=name))
        ends = np.searchsorted(rows, np.cumsum(shard_rows))
        shard_rows = np.diff(ends, prepend=0)
    return LineOrder(shard_rows.tolist(), seed=seed, name=name, block_rows=block_rows, lanes=lanes)


def matching_rows(shards: ShardSet | StreamedShards, where: dict[str, str], *, name: str) -> Sequence[int]:
    """Positions of the rows whose JSON fields have the wanted values.

    Raises:
        ConfigError: none has.
    """
    found = _rows_where(shards, tuple(sorted(where.items())))
    if not found:
        raise ConfigError(f"source '{name}': no row has {where}.")
    return found


@lru_cache(maxsize=64)
def _rows_where(shards: ShardSet | StreamedShards, where: tuple[tuple[str, str], ...]) -> Sequence[int]:
    """Read every row's JSON once a process: the check asks first, the loader again."""
    if not where:
        return range(len(shards))
    infos = ((row, shards[row].info()) for row in range(len(shards)))
    return [row for row, info in infos if all(str(info.get(field)) == value for field, value in where)]


def open_rows(
    source: SourceConfig, *, name: str, seed: int, storage: Storage, limits: Limits
) -> ShardSet | StreamedShards:
    """The rows of a source; a set with a manifest is opened once per process.

    Raises:
        ShardError, ConfigError: they cannot be opened.
    """
    if source.stream is None:
        return open_shards(source.manifest, storage, limits)
    return StreamedShards(source.manifest, source.stream, name=name, seed=seed, storage=storage, limits=limits)


def check_source(name: str, source: SourceConfig, *, storage: Storage, limits: Limits) -> list[str]:
    """Return what is wrong with a source, as messages; nothing is decoded."""
    problems = []
    try:
        matching_rows(open_rows(source, name=name, seed=0, storage=storage, limits=limits), source.where, name=name)
    except (ShardError, ConfigError, SkipSample) as error:
        problems.append(f"data.sources.{name}: {error}")
    problems += check_texts(f"data.sources.{name}.text", source.text)
    problems += check_audio(f"data.sources.{name}.audio", source.audio)
    try:
        read_excluded(source.splice.exclude if source.splice is not None else None)
    except ConfigError as error:
        problems.append(f"data.sources.{name}.splice.exclude: {error}")
    return problems
