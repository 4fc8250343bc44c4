"""The rows most like the others of their cluster: they carry most of what contrastive training learns."""

from __future__ import annotations

import numpy as np

from data_pipelines.selections import SELECTIONS
from data_pipelines.selections.base import Chosen, Selection, cluster
from mmcontrast.config import Count, Fraction, config


@SELECTIONS.register("coverage")
class Coverage(Selection):
    """Keep, of every cluster, the share that greedily maximises its similarity to the rest of the cluster.

    F(S) = sum over i outside S and j in S of the similarity of their augmentations, for each latent class.

    Source: Joshi & Mirzasoleiman 2023, "Data-Efficient Contrastive Self-supervised Learning", arXiv:2302.09195.  The
    cosine of a trained model's embeddings stands for the expected similarity of augmentations, its k-means clusters
    for the latent classes, as they propose for unlabelled data.
    """

    reason = "less like its cluster than those kept"

    @config
    class Config:
        """How many."""

        share: Fraction = 0.5  # of every cluster's rows that stay (at least one)
        clusters: Count = 100  # latent classes
        rounds: Count = 25  # of k-means
        seed: int = 0

    def choose(self, z: np.ndarray, keys: list[str]) -> Chosen:
        """Greedy choice inside each cluster."""
        keep = np.ones(len(z), dtype=bool)
        known = np.flatnonzero(~np.isnan(z).any(axis=1))
        if len(known) == 0:
            return Chosen(keep)
        config = self.config
        labels = cluster(z[known], count=config.clusters, rounds=config.rounds, seed=config.seed)
        for label in range(labels.max() + 1):
            members = known[labels == label]
            wanted = max(1, round(config.share * len(members)))
            keep[members] = False
            keep[members[greedy_cut(z[members], wanted)]] = True
        return Chosen(keep)


def greedy_cut(z: np.ndarray, count: int) -> list[int]:
    """Places of ``count`` rows, each the one that raises F most given those before; the first of equals."""
    z = z.astype(np.float64)
    own = (z * z).sum(axis=1)
    direction = z.sum(axis=0)  # of all rows, minus twice those chosen
    chosen: list[int] = []
    free = np.ones(len(z), dtype=bool)
    for _ in range(min(count, len(z))):
        gain = np.where(free, z @ direction - own, -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        free[best] = False
        direction -= 2 * z[best]
    return chosen
