"""One manifest as an endless, seekable line of rows: position -> (epoch, row) -> decoded sample.

The order is a pure function of (manifest, seed, name), see :mod:`mmcontrast.data.order`; each row's randomness is
keyed by (seed, name, epoch, row).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any, Literal

import numpy as np

from mmcontrast.config import OneOf, Positive, config
from mmcontrast.data.canvas import AnyCanvas, Canvas, SoundCanvas
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.decoded import Decoded, Drawn
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Original, told_apart
from mmcontrast.data.joining import mixed_row, scene_row, spliced_row
from mmcontrast.data.labels import Label, read_label
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.mixture import WhenDry
from mmcontrast.data.order import LineOrder, generator, stable_hash
from mmcontrast.data.row_captions import check_texts, read_captions
from mmcontrast.data.row_order import matching_rows
from mmcontrast.data.shards import RawRow, ShardSet, open_shards
from mmcontrast.data.storage import Storage
from mmcontrast.data.streaming import StreamConfig, StreamedShards
from mmcontrast.data.transforms.audio import AudioTransform, check_audio, train_audio
from mmcontrast.data.transforms.image import ImageTransform, train_image
from mmcontrast.data.transforms.jpeg import is_jpeg, train_jpeg
from mmcontrast.data.transforms.mix import Mix
from mmcontrast.data.transforms.scene import SceneConfig
from mmcontrast.data.transforms.sequence import cut
from mmcontrast.data.transforms.splice import Splice, read_excluded
from mmcontrast.data.transforms.text import TextTransform, train_text
from mmcontrast.data.transforms.window import random_window
from mmcontrast.errors import ConfigError, MissingPackage, ShardError, SkipSample
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
    splice: Splice | None = None  # clips after each other or at once, with their captions joined
    mix: Mix | None = None  # two clips at once, with their captions joined
    scene: SceneConfig | None = None  # two pictures in one, with a caption of their places or sizes
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
            fields = ("where", "splice", "mix", "scene", "shuffle_captions", "when_dry")
            asked = [name for name in fields if getattr(self, name) != getattr(without, name)]
            asked += ["weight: rows"] if self.weight == "rows" else []
            if asked:
                raise ValueError(f"stream: {', '.join(asked)} need an index: 'mmcontrast data index'.")
        if self.splice is not None and self.scene is not None:
            raise ValueError("splice joins sounds and scene pictures, each with a caption: a source has one of them.")
        types = {column: made.registry_name for column, made in self.derive.items()}
        if "other_order" in types.values() and self.splice is None and self.scene is None:
            raise ValueError("derive: other_order is of rows that splice or scene joins. Set one of them.")
        if "neighbour" in types.values() and self.stream is not None:
            raise ValueError("derive: neighbour looks rows up by key, which needs an index: 'mmcontrast data index'.")
        if "group" in self.labels:
            raise ValueError("labels: the label 'group' is read from the field that 'group' names. Set group.")


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
        self.canvases: Mapping[
            str, AnyCanvas
        ] = {}  # column -> where the picture or sound of the next row drawn may go
        self.tokens: int | None = None  # patches that pictures are cut into at most from now on; None: as specs say
        self._ahead: dict[int, RawRow] = {}  # row -> what read_ahead found
        others = generator("order", seed, f"{name} captions", 0)
        self._captions_of = others.permutation(len(self.shards)) if config.shuffle_captions else np.empty(0, np.int64)
        self._excluded = read_excluded(config.splice.exclude) if config.splice is not None else frozenset()

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, position: int) -> tuple[int, int]:
        """Return (epoch, row) of a position in the line."""
        epoch, row = self.order.locate_one(position)
        return epoch, self.rows[row]

    def read_ahead(self, positions: Sequence[int]) -> None:
        """Read the bytes of rows that are about to be drawn; a row that cannot be read is left to its draw.

        Row by row between the decoding of pictures, the same work takes twice as long: each time the processor has
        forgotten the code.

        Raises:
            ShardError: a shard cannot be read, and the config says that this ends the run.
        """
        self._ahead.clear()
        for position in positions:
            _, row = self.locate(position)
            if row not in self._cache:
                with suppress(SkipSample):
                    self._ahead[row] = self.shards[row]

    def draw(self, position: int, *, cache: bool) -> Drawn:
        """Decode and transform the row at ``position``; :func:`~mmcontrast.data.decoded.completed` makes the rest.

        Raises:
            SkipSample: the row is damaged.
        """
        epoch, row = self.locate(position)
        with _blamed(row):
            # A stream's rows have no number to keep them under.
            return self._draw(epoch, row, cache=cache and self.config.stream is None)

    def _draw(self, epoch: int, row: int, *, cache: bool) -> Drawn:
        decoded = self._decoded(row, cache=cache)
        joining = self.config.splice or self.config.scene
        if joining is not None:
            rng = generator("splice", self.seed, self.name, epoch, row)
            if rng.random() < joining.probability:
                decoded = self._joined(decoded, rng, cache=cache)
        if self.config.mix is not None:
            rng = generator("mix", self.seed, self.name, epoch, row)
            if rng.random() < self.config.mix.probability:
                decoded = mixed_row(decoded, self._another(rng, cache=cache), self.config.mix, self.specs, rng)
        key, cells, group, labels = decoded.key, decoded.cells, decoded.group, dict(decoded.labels)
        values: dict[str, Any] = {}
        later: dict[str, Callable[[], Any | None]] = {}
        for column, spec in self.specs.items():
            if column not in cells:
                continue
            make_rng = partial(generator, "row", self.seed, self.name, epoch, row, column)
            values[column] = self._view(cells[column], spec, make_rng, key=key, canvas=self.canvases.get(column))
        for column, (made, spec) in self.derived.items():
            of = made.config.of
            if of in values:
                make_rng = partial(generator, "row", self.seed, self.name, epoch, row, column)
                original = Original(
                    value=values[of],
                    view=partial(self._view, cells[of], spec, key=key),
                    captions=cells[of] if isinstance(spec, TextSpec) else None,
                    other_view=partial(self._view, decoded.other[of], spec, key=key) if of in decoded.other else None,
                    fields=decoded.fields,
                    key=key,
                    elsewhere=partial(self._elsewhere, of, spec, cache=cache),
                    row_rng=partial(generator, "row", self.seed, self.name, epoch, row),
                )
                if made.together:
                    later[column] = partial(made.derive, original, make_rng)
                    continue
                value = told_apart(made.derive(original, make_rng), column, labels)
                if value is not None:
                    values[column] = value
        return Drawn(key, values, group, labels, later)

    def _view(
        self,
        cell: Any,
        spec: InputSpec,
        make_rng: Callable[[], np.random.Generator],
        *,
        key: str,
        canvas: AnyCanvas | None = None,
        **changes: Any,
    ) -> Any:
        """One cell's random view; pictures and sounds may still be bytes, of which only a part is decoded."""
        config = self.config
        if changes:
            modality = "image" if isinstance(spec, ImageSpec) else "text" if isinstance(spec, TextSpec) else "audio"
            config = replace(config, **{modality: replace(getattr(config, modality), **changes)})
        if isinstance(spec, ImageSpec):
            sequence = spec.at(self.tokens).sequence
            size = sequence or spec.size
            if isinstance(cell, bytes):
                place = canvas if isinstance(canvas, Canvas) else None
                view = train_jpeg(
                    cell, config.image, size=size, make_rng=make_rng, key=key, limits=self.limits, canvas=place
                )
            else:
                view = train_image(cell, config.image, size=size, rng=make_rng())
            return view if sequence is None else cut(view, sequence.patch)
        if isinstance(spec, TextSpec):
            return train_text(cell, config.text, make_rng)
        rng = make_rng()
        if isinstance(cell, bytes):
            window = random_window(cell, config.audio, spec, rng=rng, limits=self.limits)
            if window is None:
                rng = make_rng()
                window = decode_audio(cell, key=key, sample_rate_hz=spec.sample_rate_hz, limits=self.limits)
            cell = window
        wave = train_audio(cell, config.audio, spec, rng=rng, limits=self.limits)
        return canvas.kept(wave) if isinstance(canvas, SoundCanvas) else wave

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
        raw = self._ahead.pop(row, None) or self.shards[row]
        cells = {}
        for column, spec in self.specs.items():
            cell_spec = self.shards.manifest.columns[column]
            if self.config.shuffle_captions and isinstance(spec, TextSpec):
                other = int(self._captions_of[row])
                with _blamed(other):
                    cells[column] = self._decode_cell(self.shards[other], cell_spec, spec)
                continue
            content = raw.members.get(cell_spec.extension, b"")
            exact = self.config.image.decode == "exact" or self.config.scene is not None
            jpeg = isinstance(spec, ImageSpec) and not exact and is_jpeg(content)
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
        labels = {name: read_label(raw.info(), label, key=raw.key) for name, label in self.config.labels.items()}
        asked = [name for made, _ in self.derived.values() for name in made.reads()]
        fields = {name: raw.info().get(name) for name in asked}
        return Decoded(raw.key, cells, group, labels, self._parts(raw), fields=fields)

    def _parts(self, raw: RawRow) -> tuple[str, str] | None:
        if self.config.splice is not None:
            return self.config.splice.parts(raw.info())
        name = None if self.config.scene is None else self.config.scene.name(raw.info())
        return None if name is None else (name, name)

    def _decode_cell(self, raw: RawRow, column: ColumnSpec, spec: InputSpec) -> Any:
        if isinstance(spec, TextSpec):
            return read_captions(raw, column, self.config.text, limits=self.limits)
        if column.extension not in raw.members:
            raise SkipSample(f"{raw.key}: no .{column.extension} member", cause="missing_member")
        content = raw.members[column.extension]
        if isinstance(spec, ImageSpec):
            return decode_image(content, key=raw.key, limits=self.limits)
        return decode_audio(content, key=raw.key, sample_rate_hz=spec.sample_rate_hz, limits=self.limits)

    def _elsewhere(
        self, column: str, spec: InputSpec, key: str, make_rng: Callable[[], np.random.Generator], *, cache: bool
    ) -> Any | None:
        """A view of a column in the row of another key; None where there is no such row or cell."""
        row = self._rows_by_key.get(key)
        if row is None:
            return None
        found = self._decoded(row, cache=cache)
        return self._view(found.cells[column], spec, make_rng, key=found.key) if column in found.cells else None

    @cached_property
    def _rows_by_key(self) -> dict[str, int]:
        assert isinstance(self.shards, ShardSet), "the check refuses neighbours of a stream"
        return {self.shards.name_of(row)[1]: row for row in self.rows}

    def _joined(self, first: Decoded, rng: np.random.Generator, *, cache: bool) -> Decoded:
        """Put other rows' sounds or pictures together with ``first``; ``first`` alone where that cannot be."""
        rows = [first, self._another(rng, cache=cache)]
        three = 0.0 if self.config.splice is None else self.config.splice.three
        if three and rng.random() < three:
            rows.append(self._another(rng, cache=cache))
        if self.config.splice is not None:
            return spliced_row(rows, self.config.splice, self.specs, rng, excluded=self._excluded)
        assert self.config.scene is not None
        return scene_row(rows, self.config.scene, self.specs, rng)

    def _another(self, rng: np.random.Generator, *, cache: bool) -> Decoded:
        return self._decoded(self.rows[int(rng.integers(0, len(self)))], cache=cache)


@contextmanager
def _blamed(row: int) -> Iterator[None]:
    """Say which row a failure inside of the block is about, unless a block further in has said it."""
    try:
        yield
    except SkipSample as error:
        error.row = row if error.row is None else error.row
        raise


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
    for column, made in source.derive.items():
        try:
            DERIVATIONS.build(made).check()
        except (ConfigError, MissingPackage) as error:
            problems.append(f"data.sources.{name}.derive.{column}: {error}")
    return problems
