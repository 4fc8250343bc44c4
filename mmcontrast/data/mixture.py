"""Which source each row of each global batch comes from: a closed form, so that any step can be sought at once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from mmcontrast.data.source import generator

Draw = Literal["per_row", "per_step"]


@dataclass(frozen=True)
class Place:
    """One row of a global batch: the source, and the position in its line."""

    source: str
    position: int


class Mixture:
    """Exact apportionment of draws to weighted sources.

    After n draws a source has given ``floor(n * C_k) - floor(n * C_(k-1))`` of them, where C is the running sum of
    the weights: at every n within one of its share.  ``per_row`` mixes sources inside each batch; ``per_step`` gives
    each batch to one source.
    """

    def __init__(self, weights: dict[str, float], *, batch_rows: int, draw: Draw, seed: int) -> None:
        self.batch_rows, self.draw, self.seed = batch_rows, draw, seed
        exact = {name: Fraction(weight).limit_denominator(1_000_000) for name, weight in sorted(weights.items())}
        total = sum(exact.values())
        self._bounds: dict[str, tuple[Fraction, Fraction]] = {}
        running = Fraction(0)
        for name, weight in exact.items():
            self._bounds[name] = (running, running + weight / total)
            running += weight / total

    def drawn(self, name: str, count: int) -> int:
        """How many of the first ``count`` draws went to a source."""
        low, high = self._bounds[name]
        return int(count * high) - int(count * low)

    def batch(self, step: int) -> list[Place]:
        """The rows of global batch ``step``, in order; a pure function of the arguments given at construction."""
        places: list[Place] = []
        for name in self._bounds:
            if self.draw == "per_row":
                first, last = (self.drawn(name, (step + more) * self.batch_rows) for more in (0, 1))
            else:
                first, last = (self.drawn(name, step + more) * self.batch_rows for more in (0, 1))
            places.extend(Place(name, position) for position in range(first, last))
        # Rows of every source land on every rank.
        return [places[index] for index in generator("batch", self.seed, step).permutation(len(places))]

    def epochs(self, name: str, step: int, *, rows: int) -> float:
        """How often a source of ``rows`` rows has been seen after ``step`` steps."""
        count = self.drawn(name, step * self.batch_rows if self.draw == "per_row" else step)
        return count * (1 if self.draw == "per_row" else self.batch_rows) / rows
