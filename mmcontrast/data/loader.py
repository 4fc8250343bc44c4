"""The stream of this rank's batches.  Its whole state is one integer: the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from mmcontrast.config import Count, Fraction, NonNegativeCount, config
from mmcontrast.data.collate import Encode, collate
from mmcontrast.data.mixture import Draw, Mixture, Place
from mmcontrast.data.source import Drawn, Source, SourceConfig
from mmcontrast.errors import ShardError, SkipSample
from mmcontrast.specs import InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.types import Batch

MAX_SUBSTITUTES = 100  # tries to replace one bad row


@config
class DataConfig:
    """Sources and how they are mixed into global batches."""

    sources: dict[str, SourceConfig]
    batch_rows: Count  # rows of one global batch, over all ranks
    draw: Draw = "per_row"  # mix sources inside each batch, or give each batch to one source
    workers: NonNegativeCount = 2  # loading processes a rank; 0 loads in the training process
    prefetch: Count = 2  # batches a worker keeps ready
    cache_decoded: bool = False  # keep decoded rows in memory: for sets that fit
    max_skipped: Fraction = 0.02  # share of damaged rows after which the run stops


@dataclass(frozen=True)
class Loaded:
    """A batch, and what happened while it was made."""

    batch: Batch
    skipped: list[str] = field(default_factory=list)  # one message a damaged row, which another row replaced


class _Steps(Dataset[Loaded]):
    """Map from step to this rank's rows of the global batch; runs inside loader workers."""

    def __init__(
        self, config: DataConfig, *, seed: int, specs: Mapping[str, InputSpec], rank: int, world_size: int
    ) -> None:
        self.config, self.specs = config, dict(specs)
        self.rank, self.world_size = rank, world_size
        self.sources = {
            name: Source(source, name=name, seed=seed, specs=specs) for name, source in config.sources.items()
        }
        weights = {name: source.weight for name, source in config.sources.items()}
        self.mixture = Mixture(weights, batch_rows=config.batch_rows, draw=config.draw, seed=seed)
        self.encode = encoders(specs)

    def __getitem__(self, step: int) -> Loaded:
        places = self.mixture.batch(step)
        mine = len(places) // self.world_size
        skipped: list[str] = []
        rows = [self._draw(place, skipped) for place in places[self.rank * mine : (self.rank + 1) * mine]]
        return Loaded(collate(rows, specs=self.specs, encode=self.encode), skipped)

    def _draw(self, place: Place, skipped: list[str]) -> Drawn:
        source = self.sources[place.source]
        for attempt in range(MAX_SUBSTITUTES):
            try:
                # A damaged row is replaced by one half a line further on: the same one on every rank and run.
                position = place.position + attempt * (len(source) // 2 + 1)
                return source.draw(position, cache=self.config.cache_decoded)
            except SkipSample as error:
                skipped.append(str(error))
        raise ShardError(f"source '{place.source}': {MAX_SUBSTITUTES} damaged rows in a row, the last: {skipped[-1]}")


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

    def seek(self, step: int, *, last: int) -> None:
        """Make ``step`` the next batch, and ``last`` the end of the stream."""
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

    def stats(self) -> dict[str, float]:
        """Epochs seen of each source, and damaged rows replaced, so far."""
        mixture = self._steps.mixture
        epochs = {
            f"epochs/{name}": mixture.epochs(name, self._next, rows=len(source))
            for name, source in self._steps.sources.items()
        }
        return {**epochs, "skipped_rows": self.skipped}

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
