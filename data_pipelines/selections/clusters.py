"""Name every row's cluster, for batches of rows that are hard to tell apart."""

from __future__ import annotations

import numpy as np

from data_pipelines.selections import SELECTIONS
from data_pipelines.selections.base import Chosen, Selection, cluster
from mmcontrast.config import Count, config


@SELECTIONS.register("clusters")
class Clusters(Selection):
    """Keep every row and write its k-means cluster into the row, as field and label ``cluster``."""

    @config
    class Config:
        """How many."""

        clusters: Count = 100
        rounds: Count = 25  # of k-means
        seed: int = 0

    def choose(self, z: np.ndarray, keys: list[str]) -> Chosen:
        """Cluster the rows that have an embedding."""
        config = self.config
        known = np.flatnonzero(~np.isnan(z).any(axis=1))
        labels = np.full(len(z), -1, dtype=np.int64)
        if len(known):
            labels[known] = cluster(z[known], count=config.clusters, rounds=config.rounds, seed=config.seed)
        return Chosen(np.ones(len(z), dtype=bool), labels, config.clusters)
