"""Which source each row of each global batch comes from: a closed form, so that any step can be sought at once.

Letter: G rows of a global batch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Int

from mmcontrast.data.apportion import Apportionment
from mmcontrast.data.order import LineOrder, generator
from mmcontrast.errors import ConfigError

Draw = Literal["per_row", "per_step"]
WhenDry = Literal["repeat", "drop", "stop"]


@dataclass(frozen=True, kw_only=True)
class Share:
    """One source of a mixture."""

    order: LineOrder
    weight: float
    limit: int | None = None  # rows after which it is dry; None: never
    when_dry: WhenDry = "drop"  # with a limit: the others share its part, or the data end


@dataclass(frozen=True)
class Stage:
    """From a step on, other weights."""

    from_step: int
    weights: Mapping[str, float]  # by source; 0 leaves it out; sources that are not named keep their weight


@dataclass(frozen=True)
class Draws:
    """Rows of one global batch, or of a part of it: the source, and the position in its line."""

    names: tuple[str, ...]
    source: Int[np.ndarray, " G"]  # index into ``names``
    position: Int[np.ndarray, " G"]

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, index: slice) -> Draws:
        """Return a run of rows."""
        return Draws(self.names, self.source[index], self.position[index])

    def share(self, *, rank: int, world_size: int) -> Draws:
        """Return the rows of one rank: equal runs, in the order of the ranks."""
        mine = len(self) // world_size
        return self.rows(slice(rank * mine, (rank + 1) * mine))


@dataclass(frozen=True)
class _Phase:
    """Steps between which nothing changes."""

    first: int
    split: Apportionment
    before: Mapping[str, int]  # rows that each source gave earlier


class Mixture:
    """Exact apportionment of draws to weighted sources (see :class:`Apportionment`).

    ``per_row`` mixes sources inside each batch; ``per_step`` gives each batch to one source.  Where a stage begins or
    a source runs dry, a new phase begins; inside a phase the count of every source is a closed form of the step.
    """

    def __init__(
        self,
        shares: Mapping[str, Share],
        *,
        batch_rows: int,
        draw: Draw,
        seed: int,
        temperature: float = 1.0,
        stages: tuple[Stage, ...] = (),
    ) -> None:
        """Work out the phases.

        Args:
            temperature: weights are raised to 1 / temperature: above 1 evens them out.

        Raises:
            ConfigError: nothing can be drawn at step 0.
        """
        self.shares = dict(sorted(shares.items()))
        self.names = tuple(self.shares)
        self.batch_rows, self.draw, self.seed, self.temperature = batch_rows, draw, seed, temperature
        self._stages = sorted(stages, key=lambda stage: stage.from_step)
        self.end: int | None = None  # number of batches there are; None: endless
        self.dried: dict[str, int] = {}  # source -> first step without it
        self._phases: list[_Phase] = []
        self._plan()
        if self.end == 0:
            raise ConfigError("data: no source has rows enough, or a weight above 0, for the first batch.")

    def weights(self, step: int) -> dict[str, float]:
        """Weights that hold at a step, before the temperature and without regard to dry sources."""
        weights = {name: share.weight for name, share in self.shares.items()}
        for stage in self._stages:
            if stage.from_step <= step:
                weights = {name: share.weight for name, share in self.shares.items()} | dict(stage.weights)
        return weights

    def drawn(self, step: int) -> dict[str, int]:
        """How many rows each source has given in the first ``step`` batches."""
        phase = self._phases[max(0, bisect_right(self._phases, step, key=lambda phase: phase.first) - 1)]
        now = self._rows(phase.split, step - phase.first)
        return {name: phase.before[name] + now.get(name, 0) for name in self.names}

    def batch(self, step: int) -> Draws:
        """The rows of global batch ``step``, in order; a pure function of the arguments given at construction."""
        assert self.end is None or step < self.end, f"the data end after {self.end} batches"
        before, after = self.drawn(step), self.drawn(step + 1)
        counts = [after[name] - before[name] for name in self.names]
        source = np.repeat(np.arange(len(self.names)), counts)
        position = np.concatenate([np.arange(before[name], after[name], dtype=np.int64) for name in self.names])
        assert len(position) == self.batch_rows, "shares add up to the batch"
        return self._arranged(Draws(self.names, source, position), step)

    def epochs(self, name: str, step: int) -> float:
        """How often a source has been seen after ``step`` steps."""
        return self.drawn(step)[name] / self.shares[name].order.rows

    def _arranged(self, draws: Draws, step: int) -> Draws:
        """Spread every source over the batch at random; rows of a large source, in the order of its lanes.

        Ranks take equal runs of the batch, so each reads its own lanes' shards, and rows of every small source.
        """
        order = generator("batch", self.seed, step).permutation(len(draws))
        if not all(share.order.whole for share in self.shares.values()):
            keys = np.empty(len(order))
            keys[order] = np.arange(len(order)) / len(order)
            for index, name in enumerate(self.names):
                line = self.shares[name].order
                if not line.whole:
                    here = draws.source == index
                    keys[here] = (line.lane(draws.position[here]) + keys[here]) / line.lanes
            order = np.argsort(keys, kind="stable")
        return Draws(draws.names, draws.source[order], draws.position[order])

    def _rows(self, split: Apportionment, steps: int) -> dict[str, int]:
        if self.draw == "per_row":
            return split.drawn(steps * self.batch_rows)
        return {name: count * self.batch_rows for name, count in split.drawn(steps).items()}

    def _plan(self) -> None:
        """Walk from one change to the next."""
        step, before = 0, dict.fromkeys(self.names, 0)
        while True:
            weights = {name: weight for name, weight in self._active(step).items() if weight > 0}
            if not weights:
                self.end = step
                return
            split = Apportionment(weights)
            stage = next((stage.from_step for stage in self._stages if stage.from_step > step), None)
            lasts = {name: self._lasts(split, name, before[name]) for name in weights}
            dry = min((count for count in lasts.values() if count is not None), default=None)
            ends = [each for each in (stage, None if dry is None else step + dry) if each is not None]
            if not ends or min(ends) > step:
                self._phases.append(_Phase(step, split, dict(before)))
            if not ends:
                return
            given = self._rows(split, min(ends) - step)
            before = {name: before[name] + given.get(name, 0) for name in self.names}
            if dry is not None and step + dry == min(ends):
                for name in (name for name, count in lasts.items() if count == dry):
                    self.dried[name] = min(ends)
                    if self.shares[name].when_dry == "stop":
                        self.end = min(ends)
                if self.end is not None:
                    return
            step = min(ends)

    def _active(self, step: int) -> dict[str, Fraction]:
        weights = {name: weight for name, weight in self.weights(step).items() if name not in self.dried}
        if self.temperature == 1:
            rounded = {name: Fraction(weight).limit_denominator(1_000_000) for name, weight in weights.items()}
            return {name: rounded[name] or Fraction(weight) for name, weight in weights.items()}
        largest = max(weights.values(), default=0.0) or 1.0
        return {
            name: Fraction(round((weight / largest) ** (1 / self.temperature) * 10**12), 10**12)
            for name, weight in weights.items()
        }

    def _lasts(self, split: Apportionment, name: str, before: int) -> int | None:
        """How many steps of a phase a source can serve; None: any number."""
        limit = self.shares[name].limit
        if limit is None:
            return None
        left = limit - before
        low, high = 0, 1
        while self._rows(split, high)[name] <= left:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._rows(split, middle)[name] <= left else (low, middle)
        return low
