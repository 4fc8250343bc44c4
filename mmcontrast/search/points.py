"""The points of one modality: candidates come from faiss, scores from the geometry itself.

Letters: N points, Q queries, D coordinates, K answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmcontrast.geometry.base import Geometry
from mmcontrast.search.nearest import Nearest

BLOCK_ROWS = 16_384  # points that are in memory at a time when all are compared
MORE = 4  # candidates for each answer, scored again by the points as they are stored
SAMPLE_ROWS = 4096  # that stand for all in standard scores


@dataclass(frozen=True)
class Found:
    """The closest points of each query, best first; equal scores in the order of the points."""

    places: Int64[np.ndarray, "Q K"]
    scores: Float[np.ndarray, "Q K"]


class Points:
    """Points by place, the rows that they belong to, and what finds them."""

    def __init__(
        self,
        geometry: Geometry,
        values: Float[np.ndarray, "N D"],
        rows: Int64[np.ndarray, " N"],
        nearest: Nearest,
        *,
        width: int,
    ) -> None:
        self.geometry, self.values, self.rows, self.finder, self.width = geometry, values, rows, nearest, width

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(self, queries: Float[Tensor, "Q D"], *, count: int, width: int | None = None) -> Found:
        """The ``count`` closest points of each query, or all if there are fewer."""
        count = min(count, len(self))
        asked = self.geometry.inner_queries(queries).numpy()
        candidates = self.finder.find(
            asked, count=min(MORE * count, len(self)), width=self.width if width is None else width
        )
        places, scores = np.full((len(queries), count), -1), np.full((len(queries), count), -np.inf, np.float32)
        for number, query in enumerate(queries):
            some = np.sort(candidates[number][candidates[number] >= 0])
            found = best(some, self.scores(query, some), count)
            places[number, : len(found[0])], scores[number, : len(found[0])] = found
        return Found(places, scores)

    def exact(self, queries: Float[Tensor, "Q D"], *, count: int) -> Found:
        """The same with every point compared."""
        count = min(count, len(self))
        places = np.zeros((len(queries), 0), np.int64)
        scores = np.zeros((len(queries), 0), np.float32)
        for start, block in self.blocks():
            there = self.geometry.similarity(queries, block).numpy()
            places = np.concatenate([places, np.broadcast_to(np.arange(start, start + len(block)), there.shape)], 1)
            scores = np.concatenate([scores, there], 1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
            places, scores = np.take_along_axis(places, order, 1), np.take_along_axis(scores, order, 1)
        return Found(places, scores)

    def scores(self, query: Float[Tensor, " D"], places: Int64[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
        """Similarity of a query with some points."""
        points = torch.from_numpy(self.values[places].astype(np.float32))
        return self.geometry.similarity(query[None], points)[0].numpy()

    def standard(self, query: Float[Tensor, " D"], scores: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
        """Scores in deviations from the mean over all points, by a sample of them: queries then compare."""
        others = self.geometry.similarity(query[None], self._sample)[0].double()
        deviation = float(others.std(correction=0))
        return ((scores - float(others.mean())) / (deviation or 1.0)).astype(np.float32)

    def blocks(self) -> Iterator[tuple[int, Float[Tensor, "N D"]]]:
        """All points in float32, some at a time, each with the place of the first."""
        for start in range(0, len(self), BLOCK_ROWS):
            yield start, torch.from_numpy(self.values[start : start + BLOCK_ROWS].astype(np.float32))

    @cached_property
    def _sample(self) -> Float[Tensor, "N D"]:
        return self.sample(SAMPLE_ROWS, seed=0)

    def sample(self, count: int, *, seed: int) -> Float[Tensor, "N D"]:
        """Some points drawn without repetition, in their order; all if there are fewer."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return torch.from_numpy(self.values[chosen].astype(np.float32))


def best(
    places: Int64[np.ndarray, " N"], scores: Float[np.ndarray, " N"], count: int
) -> tuple[Int64[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """The ``count`` with the largest scores, best first; equal scores keep their order."""
    order = np.argsort(-scores, kind="stable")[:count]
    return places[order], scores[order]
