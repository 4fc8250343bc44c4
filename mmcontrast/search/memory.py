"""What an index knows about one modality from another: rows that have both, found by the one and read as the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mmcontrast.errors import SearchError
from mmcontrast.search.index import Index

MORE = 4  # points looked at for each neighbour: some of their rows lack the other modality


@dataclass(frozen=True)
class Neighbours:
    """Points of the other modality, of the rows nearest to each query."""

    points: Float[Tensor, "Q K D"]  # zeros where there were fewer
    real: Bool[Tensor, "Q K"]


class Memory:
    """Pairs of two modalities in an index."""

    def __init__(self, index: Index, pair: tuple[str, str]) -> None:
        """Find the rows that have both.

        Raises:
            SearchError: there are fewer than two, or the index lacks a modality.
        """
        self.index, self.pair = index, pair
        self._places = {}  # modality -> place of each row's point, -1 where it has none
        for modality in pair:
            places = np.full(len(index.rows), -1)
            places[index.points(modality).rows] = np.arange(len(index.points(modality)))
            self._places[modality] = places
        self.rows: Int64[np.ndarray, " N"] = np.all([each >= 0 for each in self._places.values()], axis=0).nonzero()[0]
        if len(self.rows) < 2:
            raise SearchError(f"'{index.folder}' has {len(self.rows)} rows with {' and '.join(pair)}; 2 are too few.")

    def other(self, modality: str) -> str:
        """The other one of the pair."""
        return self.pair[1 - self.pair.index(modality)]

    def points(self, modality: str, rows: Int64[np.ndarray, " N"]) -> Float[Tensor, "N D"]:
        """The points of rows that have them."""
        values = self.index.points(modality).values[self._places[modality][rows]]
        return torch.from_numpy(values.astype(np.float32))

    def neighbours(
        self,
        modality: str,
        queries: Float[Tensor, "Q D"],
        *,
        count: int,
        without: Int64[np.ndarray, " Q"] | None = None,
    ) -> Neighbours:
        """Find the nearest rows by a query's own modality, and return their points of the other.

        Args:
            without: a row for each query that must not be found: its own.
        """
        here, other = self.index.points(modality), self.other(modality)
        found = here.nearest(queries, count=MORE * count + 1)
        points = torch.zeros(len(queries), count, queries.shape[1])
        real = torch.zeros(len(queries), count, dtype=torch.bool)
        for number, places in enumerate(found.places):
            rows = here.rows[places[places >= 0]]
            rows = rows[self._places[other][rows] >= 0]
            if without is not None:
                rows = rows[rows != without[number]]
            rows = rows[:count]
            points[number, : len(rows)] = self.points(other, rows)
            real[number, : len(rows)] = True
        return Neighbours(points, real)
