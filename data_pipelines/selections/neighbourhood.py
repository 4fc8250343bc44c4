"""Thin out crowded places: at most so many rows within a margin of one another."""

from __future__ import annotations

import hashlib

import numpy as np

from data_pipelines.selections import SELECTIONS
from data_pipelines.selections.base import Chosen, Selection
from mmcontrast.config import Count, Positive, config


@SELECTIONS.register("neighbourhood")
class Neighbourhood(Selection):
    """Walk the rows in a random order; a row stays if fewer than ``most`` kept rows lie within ``margin`` of it.

    Every dropped row has ``most`` kept rows within the margin: no region is emptied, crowded ones are thinned.
    """

    reason = "neighbourhood is full"

    @config
    class Config:
        """Margin and number."""

        margin: Positive = 0.1  # 1 - cosine
        most: Count = 1  # kept rows within the margin
        seed: int = 0  # another seed, another order

    def choose(self, z: np.ndarray, keys: list[str]) -> Chosen:
        """Greedy choice in the order of hashed keys."""
        keep = np.isnan(z).any(axis=1)
        order = sorted(np.flatnonzero(~keep), key=lambda place: _hash(f"{self.config.seed}\x1f{keys[place]}"))
        kept = np.zeros((len(order), z.shape[1]), dtype=np.float32)
        num_kept = 0
        for place in order:
            near = int((kept[:num_kept] @ z[place] >= 1 - self.config.margin).sum())
            if near < self.config.most:
                kept[num_kept] = z[place]
                num_kept += 1
                keep[place] = True
        return Chosen(keep)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
