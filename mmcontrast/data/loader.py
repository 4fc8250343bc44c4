"""The stream of this rank's batches.  Its whole state is one integer: the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmcontrast.config import Count, Fraction, NonNegative, NonNegativeCount, Positive, config
from mmcontrast.data.collate import Encode, collate
from mmcontrast.data.columns import joined_labels
from mmcontrast.data.limits import Limits
from mmcontrast.data.mixture import Draw, Mixture, Share, Stage
from mmcontrast.data.shards import ShardSet, open_shards
from mmcontrast.data.source import Drawn, Source, SourceConfig, line_order
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ShardError, SkipSample, did_you_mean
from mmcontrast.specs import InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.types import Batch

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
    workers: NonNegativeCount = 2  # loading processes a rank; 0 loads in the training process
    prefetch: Count = 2  # batches a worker keeps ready
    cache_decoded: bool = False  # keep decoded rows in memory: for sets that fit
    max_skipped: Fraction = 0.02  # share of damaged rows after which the run stops
    limits: Limits = Limits()  # how large what a shard holds may be
    storage: Storage = Storage()  # how shards are read, local and remote

    def __post_init__(self) -> None:
        starts = [stage.from_step for stage in self.stages.values()]
        if len(set(starts)) < len(starts):
            raise ValueError(f"stages: two begin at the same step: {sorted(starts)}.")
        for name, stage in self.stages.items():
            for source in stage.weights:
                if source not in self.sources:
                    raise ValueError(
                        f"stages.{name}.weights: there is no source '{source}'.{did_you_mean(source, self.sources)}"
                    )


@dataclass(frozen=True)
class Loaded:
    """A batch, and what happened while it was made."""

    batch: Batch
    skipped: list[str] = field(default_factory=list)  # one message a damaged row, which another row replaced
    sources: Int[Tensor, " B"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))  # in Loader.names


class _Steps(Dataset[Loaded]):
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
                shards=open_source(config, name),
                name=name,
                seed=seed,
                specs=specs,
                order=self.mixture.shares[name].order,
            )
            for name, source in config.sources.items()
        }
        self.encode = encoders(specs)
        self.labels = joined_labels(config.sources)

    def __getitem__(self, step: int) -> Loaded:
        draws = self.mixture.batch(step)
        mine = len(draws) // self.world_size
        draws = draws.rows(slice(self.rank * mine, (self.rank + 1) * mine))
        skipped: list[str] = []
        rows = [
            self._draw(self.sources[draws.names[source]], position, skipped)
            for source, position in zip(draws.source.tolist(), draws.position.tolist(), strict=True)
        ]
        batch = collate(rows, specs=self.specs, encode=self.encode, labels=self.labels)
        return Loaded(batch, skipped, torch.from_numpy(draws.source.astype(np.int64)))

    def _draw(self, source: Source, position: int, skipped: list[str]) -> Drawn:
        for attempt in range(MAX_SUBSTITUTES):
            try:
                # A damaged row is replaced by the same other one on every rank and run.
                return source.draw(source.order.substitute(position, attempt), cache=self.config.cache_decoded)
            except SkipSample as error:
                skipped.append(str(error))
        raise ShardError(f"source '{source.name}': {MAX_SUBSTITUTES} damaged rows in a row, the last: {skipped[-1]}")


def open_source(config: DataConfig, name: str) -> ShardSet:
    """The shards of a source, read as the config says; once per process.

    Raises:
        ShardError, ConfigError: they cannot be opened.
    """
    return open_shards(config.sources[name].manifest, config.storage, config.limits)


def build_mixture(config: DataConfig, *, seed: int) -> Mixture:
    """The mixture that a config describes.

    Raises:
        ShardError, ConfigError: a manifest cannot be read, or nothing can be drawn.
    """
    shares = {}
    for name, source in config.sources.items():
        shards = open_source(config, name)
        order = line_order(
            source, shards=shards, name=name, seed=seed, block_rows=config.block_rows, lanes=config.lanes
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


def encoders(specs: Mapping[str, InputSpec]) -> dict[str, Encode]:
    """Build each text column's tokenizer, bound to its tower's context length."""
    return {
        name: partial(TOKENIZERS.build(spec.tokenizer).encode, context_length=spec.context_length)
        for name, spec in specs.items()
        if isinstance(spec, TextSpec)
    }


class Loader:
    """This rank's batches from any step on; the sequence of global batches knows no ranks and no workers."""

    def __init__(
        self, config: DataConfig, *, seed: int, specs: Mapping[str, InputSpec], rank: int = 0, world_size: int = 1
    ) -> None:
        assert config.batch_rows % world_size == 0, "check() makes sure that ranks get equal rows"
        self.config = config
        self._steps = _Steps(config, seed=seed, specs=specs, rank=rank, world_size=world_size)
        self._iterator: Iterator[Loaded] | None = None
        self._next = 0
        self._last = 0
        self.rows = self.skipped = 0

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

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Loaded:
        """Return the next batch.

        Raises:
            ShardError: too many damaged rows.
        """
        if self._iterator is None:
            self._iterator = self._start()
        loaded = next(self._iterator)
        self._next += 1
        self.rows += len(loaded.batch)
        self.skipped += len(loaded.skipped)
        if self.skipped > max(10, self.config.max_skipped * self.rows):
            raise ShardError(
                f"{self.skipped} of {self.rows} rows were damaged, over data.max_skipped = "
                f"{self.config.max_skipped:.1%}. The last: {loaded.skipped[-1]}"
            )
        return loaded

    def counts(self) -> dict[str, int]:
        """This rank's rows and damaged rows so far, for a checkpoint."""
        return {"rows": self.rows, "skipped": self.skipped}

    def load_counts(self, counts: dict[str, int]) -> None:
        """Go on counting from :meth:`counts`."""
        self.rows, self.skipped = counts["rows"], counts["skipped"]

    def stats(self) -> dict[str, float]:
        """Rows drawn and epochs seen of each source, and damaged rows replaced, so far."""
        mixture = self._steps.mixture
        draws = {f"draws/{name}": count for name, count in mixture.drawn(self._next).items()}
        epochs = {f"epochs/{name}": mixture.epochs(name, self._next) for name in mixture.names}
        return {**draws, **epochs, "skipped_rows": self.skipped}

    def _start(self) -> Iterator[Loaded]:
        options: dict[str, Any] = {}
        if self.config.workers:
            options = {"prefetch_factor": self.config.prefetch, "timeout": 300}
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
