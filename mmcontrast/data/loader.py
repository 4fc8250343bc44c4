"""The stream of this rank's batches.  Its whole state is one integer: the step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, NonNegativeCount, Positive, config
from mmcontrast.data.accounting import Account, accounts
from mmcontrast.data.canvas import canvases
from mmcontrast.data.collate import collate, encoders
from mmcontrast.data.columns import joined_labels
from mmcontrast.data.decoded import Drawn, completed
from mmcontrast.data.handover import Loaded, Unfinished
from mmcontrast.data.limits import Limits
from mmcontrast.data.mixture import Draw, Mixture, Share, Stage
from mmcontrast.data.order import generator
from mmcontrast.data.quarantine import BadRow, QuarantineConfig
from mmcontrast.data.row_order import line_order
from mmcontrast.data.shards import ShardSet
from mmcontrast.data.source import Source, SourceConfig, open_rows
from mmcontrast.data.storage import Storage
from mmcontrast.data.streaming import StreamedShards
from mmcontrast.data.workers import settle
from mmcontrast.errors import BadSamples, MMContrastError, SkipSample, did_you_mean
from mmcontrast.specs import ImageSpec, InputSpec

STREAM = "stream/"  # what a checkpoint's names of streams begin with
AHEAD_ROWS = 16  # whose bytes are read before the first of them is decoded
MAX_SUBSTITUTES = 100  # tries to replace one bad row


@config
class StageConfig:
    """Other weights from a step on: easy sources first, say."""

    from_step: NonNegativeCount
    weights: dict[str, NonNegative]  # by source; 0 leaves it out; sources that are not named keep their weight


@config
class DataConfig:
    """Sources and how they are mixed into global batches."""

    sources: dict[str, SourceConfig]
    batch_rows: Count  # rows of one global batch, over all ranks
    draw: Draw = "per_row"  # mix sources inside each batch, or give each batch to one source
    temperature: Positive = 1.0  # weights are raised to 1 / temperature: above 1 evens them out
    stages: dict[str, StageConfig] = {}  # curriculum: a stage's weights hold until the next stage begins
    block_rows: Count = 65_536  # rows that are shuffled together; a source with no more is shuffled whole
    lanes: Count = 8  # runs of shards of a larger source that are read side by side, each in blocks of block_rows
    bucket_batches: NonNegativeCount = 0  # with per_step: so many batches' rows are sorted by caption length; 0: none
    workers: NonNegativeCount = 2  # loading processes a rank; 0 loads in the training process
    prefetch: Count = 2  # batches a worker keeps ready
    cache_decoded: bool = False  # keep decoded rows in memory: for sets that fit
    quarantine: QuarantineConfig = QuarantineConfig()  # how many damaged rows a run bears
    limits: Limits = Limits()  # how large what a shard holds may be
    storage: Storage = Storage()  # how shards are read, local and remote

    def __post_init__(self) -> None:
        starts = [stage.from_step for stage in self.stages.values()]
        if len(set(starts)) < len(starts):
            raise ValueError(f"stages: two begin at the same step: {sorted(starts)}.")
        if self.bucket_batches and self.draw != "per_step":
            raise ValueError("bucket_batches: batches of one length are of one source. Set draw: per_step.")
        for name, stage in self.stages.items():
            for source in stage.weights:
                if source not in self.sources:
                    raise ValueError(
                        f"stages.{name}.weights: there is no source '{source}'.{did_you_mean(source, self.sources)}"
                    )


class _Steps(Dataset[Loaded | Unfinished]):
    """Map from step to this rank's rows of the global batch; runs inside loader workers."""

    def __init__(
        self, config: DataConfig, *, seed: int, specs: Mapping[str, InputSpec], rank: int, world_size: int
    ) -> None:
        self.config, self.specs = config, dict(specs)
        self.rank, self.world_size = rank, world_size
        self.mixture = build_mixture(config, seed=seed)
        self.sources = {
            name: Source(
                source,
                shards=open_source(config, name, seed=seed),
                name=name,
                seed=seed,
                specs=specs,
                order=self.mixture.shares[name].order,
            )
            for name, source in config.sources.items()
        }
        self.encode = encoders(specs)
        self.labels = joined_labels(config.sources)
        self.streams = {
            name: source.shards for name, source in self.sources.items() if isinstance(source.shards, StreamedShards)
        }
        self.firsts = dict.fromkeys(self.streams, 0)  # number in a stream's line of shards to begin at
        self._started = False
        self.unread: set[tuple[str, int]] = set()  # (source, position) that was unreadable when a batch was first made

    def __getitem__(self, step: int) -> Loaded | Unfinished:
        bad: list[BadRow] = []
        try:
            return self._batch(step, bad)
        except MMContrastError as error:
            return Unfinished(bad, error)

    def _batch(self, step: int, bad: list[BadRow]) -> Loaded:
        worker = self._start_streams()
        draws = self.mixture.batch(step).share(rank=self.rank, world_size=self.world_size)
        first = self.rank * len(draws)
        names = [draws.names[source] for source in draws.source.tolist()]
        rows: list[Drawn] = []
        tokens = self._tokens(step)
        specs = {name: spec.at(tokens) if isinstance(spec, ImageSpec) else spec for name, spec in self.specs.items()}
        everywhere = set.intersection(*(set(self.sources[name].specs) for name in set(names)))
        places = canvases(specs, rows=len(draws), everywhere=everywhere)
        for source in self.sources.values():
            source.canvases, source.tokens = places, tokens
        own: Counter[str] = Counter()
        positions = draws.position.tolist()
        for number, (name, position) in enumerate(zip(names, positions, strict=True)):
            if number % AHEAD_ROWS == 0:
                self._read_ahead(names[number : number + AHEAD_ROWS], positions[number : number + AHEAD_ROWS])
            before = len(bad)
            for canvas in places.values():
                canvas.row = number
            rows.append(self._draw(self.sources[name], position, bad, batch=step, row=first + number))
            own[name] += len(bad) == before
        batch = collate(completed(rows), specs=specs, encode=self.encode, labels=self.labels, canvases=places)
        return Loaded(
            batch,
            bad,
            dict(own),
            torch.from_numpy(draws.source.astype(np.int64)),
            worker=worker,
            reached={name: stream.reached for name, stream in self.streams.items()},
        )

    def _tokens(self, step: int) -> int | None:
        """Patches of this step's pictures at most, on every rank; None where towers read whole pictures."""
        sequences = [spec.sequence for spec in self.specs.values() if isinstance(spec, ImageSpec) and spec.sequence]
        if not sequences or not sequences[0].train_tokens:
            return None
        return int(generator("tokens", self.mixture.seed, step).choice(sequences[0].train_tokens))

    def _read_ahead(self, names: list[str], positions: list[int]) -> None:
        for name in set(names) - set(self.streams):
            mine = zip(names, positions, strict=True)
            self.sources[name].read_ahead([position for each, position in mine if each == name])

    def restart(self, firsts: dict[str, int]) -> None:
        """Let streams begin anew at these numbers of their lines of shards."""
        self.firsts, self._started = firsts, False

    def _start_streams(self) -> int:
        """Begin streams at the first call in this process; return the number of this worker."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if not self._started:
            for name, stream in self.streams.items():
                stream.start(
                    first=self.firsts[name],
                    reader=self.rank * workers + worker,
                    readers=self.world_size * workers,
                )
            self._started = True
        return worker

    def _draw(self, source: Source, position: int, bad: list[BadRow], *, batch: int, row: int) -> Drawn:
        """Draw the row, or the one that replaces it on every rank and run.

        Raises:
            BadSamples: all those are bad too.
        """
        before = len(bad)
        for attempt in range(MAX_SUBSTITUTES):
            place = source.order.substitute(position, attempt)
            try:
                if (source.name, place) in self.unread:
                    raise SkipSample(
                        "it could not be read when this batch was first made", cause="unread", lasting=False
                    )
                drawn = source.draw(place, cache=self.config.cache_decoded)
            except SkipSample as error:
                epoch, own = source.locate(place)
                shard, key = source.shards.name_of(own if error.row is None else error.row)
                bad.append(
                    BadRow(
                        batch=batch,
                        row=row,
                        attempt=attempt,
                        source=source.name,
                        epoch=epoch,
                        position=place,
                        shard=shard,
                        key=key,
                        cause=error.cause,
                        detail=str(error),
                        lasting=error.lasting,
                    )
                )
                continue
            bad[before:] = [replace(each, replaced_by=drawn.key) for each in bad[before:]]
            return drawn
        raise BadSamples(f"source '{source.name}': {MAX_SUBSTITUTES} bad rows in a row, the last: {bad[-1].detail}")


def open_source(config: DataConfig, name: str, *, seed: int = 0) -> ShardSet | StreamedShards:
    """The rows of a source, read as the config says.

    Raises:
        ShardError, ConfigError: they cannot be opened.
    """
    return open_rows(config.sources[name], name=name, seed=seed, storage=config.storage, limits=config.limits)


def build_mixture(config: DataConfig, *, seed: int) -> Mixture:
    """The mixture that a config describes.

    Raises:
        ShardError, ConfigError: a manifest cannot be read, or nothing can be drawn.
    """
    shares = {}
    for name, source in config.sources.items():
        shards = open_source(config, name)
        order = line_order(
            source,
            shards=shards,
            name=name,
            seed=seed,
            block_rows=config.block_rows,
            lanes=config.lanes,
            batch_rows=config.batch_rows,
            bucket_batches=config.bucket_batches,
        )
        weight = float(order.rows) if source.weight == "rows" else source.weight
        if source.when_dry == "repeat":
            shares[name] = Share(order=order, weight=weight)
        else:
            limit = int(source.epochs * order.rows)
            shares[name] = Share(order=order, weight=weight, limit=limit, when_dry=source.when_dry)
    return Mixture(
        shares,
        batch_rows=config.batch_rows,
        draw=config.draw,
        seed=seed,
        temperature=config.temperature,
        stages=tuple(Stage(stage.from_step, stage.weights) for stage in config.stages.values()),
    )


class Loader:
    """This rank's batches from any step on; the sequence of global batches knows no ranks and no workers."""

    def __init__(
        self, config: DataConfig, *, seed: int, specs: Mapping[str, InputSpec], rank: int = 0, world_size: int = 1
    ) -> None:
        assert config.batch_rows % world_size == 0, "check() makes sure that ranks get equal rows"
        self.config = config
        self._steps = _Steps(config, seed=seed, specs=specs, rank=rank, world_size=world_size)
        for stream in self._steps.streams.values():
            stream.check_readers(ranks=world_size, workers=config.workers)
        self._iterator: Iterator[Loaded | Unfinished] | None = None
        self._next = 0
        self._last = 0
        self._reached: dict[tuple[str, int], int] = {}  # (streamed source, worker) -> see Loaded, since the last seek
        self.bad: list[BadRow] = []  # found since take_bad was called
        self._counts: Counter[str] = Counter()  # of this rank, own rows: a row that replaces another is not counted

    @property
    def names(self) -> tuple[str, ...]:
        """Sources, in the order of the numbers that rows carry."""
        return self._steps.mixture.names

    @property
    def end(self) -> int | None:
        """Number of batches there are; None: endless."""
        return self._steps.mixture.end

    def epochs(self, step: int) -> float:
        """Passes over the source of most rows in the first ``step`` batches."""
        mixture = self._steps.mixture
        return mixture.epochs(max(mixture.names, key=lambda name: mixture.shares[name].order.rows), step)

    def seek(self, step: int, *, last: int) -> None:
        """Make ``step`` the next batch, and ``last`` the end of the stream (or the data's end, if that is before)."""
        last = last if self.end is None else min(last, self.end)
        self._next, self._last, self._iterator = step, last, None
        self._steps.restart(self.reached())
        self._reached = {}

    def reached(self) -> dict[str, int]:
        """Streamed source -> lowest number in its line of shards that a worker of this rank has not finished."""
        workers = range(max(1, self.config.workers))
        firsts = self._steps.firsts
        return {
            name: min(self._reached.get((name, each), first) for each in workers) for name, first in firsts.items()
        }

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Loaded:
        """Return the next batch.

        Raises:
            BadSamples: one row of it is bad, and so is all that would replace it.
            ShardError: a shard cannot be read, and the config says that this ends the run.
        """
        if self._iterator is None:
            self._iterator = self._start()
        loaded = next(self._iterator)
        self.bad += loaded.bad
        if isinstance(loaded, Unfinished):
            raise loaded.error
        self._next += 1
        self._reached.update({(name, loaded.worker): number for name, number in loaded.reached.items()})
        for name, rows in loaded.delivered.items():
            self._counts[f"delivered/{name}"] += rows
        for row in loaded.bad:
            if row.attempt == 0:
                self._counts[f"quarantined/{row.source}/{row.cause}"] += 1
        return loaded

    def take_bad(self) -> list[BadRow]:
        """The bad rows that were found since the last call."""
        found, self.bad = self.bad, []
        return found

    def remember(self, unread: set[tuple[str, int]]) -> None:
        """Replace these (source, position) without trying to read them; for batches sought after this."""
        self._steps.unread = {place for place in unread if place[0] not in self._steps.streams}

    def counts(self) -> dict[str, int]:
        """This rank's rows and bad rows so far, and where its streams are, for a checkpoint."""
        return {**self._counts, **{f"{STREAM}{name}": number for name, number in self.reached().items()}}

    def load_counts(self, ranks: list[dict[str, int]]) -> None:
        """Go on counting from the :meth:`counts` of all ranks, be they as many as now or not."""
        firsts = {name: min(each.get(f"{STREAM}{name}", 0) for each in ranks) for name in self._steps.streams}
        self._steps.restart(firsts)
        self._reached = {}
        mine = ranks if comm.rank() == 0 else []
        if len(ranks) == comm.world_size():
            mine = [ranks[comm.rank()]]
        self._counts = Counter()
        for each in mine:
            self._counts.update({name: count for name, count in each.items() if not name.startswith(STREAM)})

    def totals(self) -> dict[str, int]:
        """The counts of all ranks together.  Collective."""
        total: Counter[str] = Counter()
        for part in comm.gather_bytes(json.dumps(self._counts).encode()):
            total.update(json.loads(part))
        return dict(sorted(total.items()))

    def accounts(self, dropped: Sequence[tuple[int, int]] = ()) -> list[Account]:
        """Where the rows of each indexed source went; ``dropped``: ranges of batches left out.  Collective."""
        found = accounts(self._steps.mixture, self.totals(), batch=self._next, dropped=dropped)
        return [each for each in found if each.source not in self._steps.streams]

    def stats(self) -> dict[str, float]:
        """Rows drawn and epochs seen of each source, and rows quarantined by source and cause, so far.  Collective."""
        mixture = self._steps.mixture
        draws = {f"draws/{name}": count for name, count in mixture.drawn(self._next).items()}
        epochs = {f"epochs/{name}": mixture.epochs(name, self._next) for name in mixture.names}
        bad = {name: count for name, count in self.totals().items() if name.startswith("quarantined/")}
        return {**draws, **epochs, **bad, "quarantined_rows": sum(bad.values())}

    def _start(self) -> Iterator[Loaded | Unfinished]:
        options: dict[str, Any] = {}
        if self.config.workers:
            options = {"prefetch_factor": self.config.prefetch, "timeout": 300, "worker_init_fn": settle}
        return iter(
            DataLoader(
                self._steps,
                sampler=range(self._next, self._last),
                batch_size=None,
                num_workers=self.config.workers,
                # Its own generator: the loader's draw at every start must not move the training's random state.
                generator=torch.Generator(),
                **options,
            )
        )
