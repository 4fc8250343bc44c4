"""ClusterNS: the nearest foreign cluster's centre as a hard negative, rows of the own cluster as false ones."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Fraction, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.clusters import Clusters
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, cross_entropy_row, pair_needs, picked
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("cluster_negatives", "clusterns", "clustering_aware")
class ClusterNegatives(Objective):
    r"""In-batch contrast with centres of clusters as further negatives, and a margin for rows of one cluster.

        loss_i = -log( e^{s sim(h_i, h+_i)} / (sum_j e^{s sim(h_i, h+_j)} + sum_j m_ij e^{s sim(h_i, c_j)}) )
                 + margin_weight / N sum_{j in F(i)} ( max(0, d_ij + near) + max(0, -d_ij - far) ),
        d_ij = sim(h_i, h+_j) - sim(h_i, h+_i),

    c_j the centre second nearest to h_j, m_ij = ``emphasis`` for i = j and 1 otherwise; F(i) the other rows whose
    query is in the cluster of h_i.  Centres carry no gradient.  They start from the queries of the first update in
    which the mean of all sim(h_i, h+_j) is at most ``begin_below``, and then follow their clusters' means.

    Needs: query and positive columns.
    Relations: before the clusters start, ``simcse``.
    Source: Deng et al. 2023, arXiv:2305.09892, and its authors' code, whose clusters start at a random row and move
    towards the sum of their rows.  Rows of F(i) stay in the first denominator, as there.
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        positive: str = "text.view2"
        clusters: Annotated[int, Ge(2)] = 128  # the paper's
        rate: Fraction = 1e-3  # share of the way that a centre goes in an update, the paper's
        begin_below: float = 0.4  # mean similarity at which clusters start, the paper's
        emphasis: Annotated[float, Ge(1)] = 1.0  # weight of a row's own hard negative
        margin_weight: NonNegative = 1e-3  # of the margin for rows of one cluster, the paper's for its smallest model
        near: NonNegative = 0.0  # they should be this much less similar than the positive, the paper's likewise
        far: NonNegative = 0.3  # but no more than this
        temperature: Temperature = 0.05
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if self.query == self.positive:
                raise ValueError("query and positive must be different columns.")

    clusters: Clusters

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=False)

    def attach(self, spaces: Spaces) -> None:
        """Make room for the centres."""
        self.clusters = Clusters(count=self.config.clusters, dim=spaces.dim)

    def needs(self) -> Needs:
        """Query and positive."""
        return pair_needs((self.config.query, self.config.positive), None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with query and positive."""
        query, positive = emb[self.config.query], emb[self.config.positive]
        both = query.present & positive.present
        scale = self.scale()
        if not self.clusters.started:

            def contrast(tile: Tile) -> Tensor:
                return cross_entropy_row(tile, scale * tile.similarity)

            return Terms(loss=comm.row_mean(compare(query, [Key(positive, "positive")], contrast), both.float()))
        z = query.z.float()
        nearest = self.clusters.two_nearest(z).masked_fill(~both[:, None], -1)
        mine = comm.gather(nearest[:, 0])
        rows_with_both = comm.all_sum(both.float().sum()).clamp_min(1.0)
        mass = self._mass(z, nearest[:, 1], scale)  # (B,) log of the centres' sum

        def per_row(tile: Tile) -> Tensor:
            logits = scale * tile.similarity
            loss = cross_entropy_row(tile, logits)
            found = picked(logits, tile.positive)
            loss = torch.logaddexp(loss, mass[tile.rows] - found)
            alike = tile.negative & (nearest[tile.rows, :1] == mine[None, :]) & (mine >= 0)[None, :]
            behind = tile.similarity - picked(tile.similarity, tile.positive)[:, None]
            outside = (behind + self.config.near).relu() + (-behind - self.config.far).relu()
            return loss + self.config.margin_weight * (outside * alike).sum(dim=1) / rows_with_both

        rows = compare(query, [Key(positive, "positive")], per_row)
        return Terms(loss=comm.row_mean(rows, both.float()))

    def _mass(self, z: Float[Tensor, "B D"], hard: Int[Tensor, " B"], scale: Tensor) -> Float[Tensor, " B"]:
        """Log of sum_j m_ij e^{s sim(h_i, c_j)}: rows share few centres, so each centre is counted."""
        everyone = comm.gather(hard)
        times = torch.zeros(self.config.clusters, device=z.device)
        times.index_add_(0, everyone.clamp_min(0), (everyone >= 0).float())
        times = times.repeat(len(z), 1).scatter_add_(
            1, hard.clamp_min(0)[:, None], (self.config.emphasis - 1) * (hard >= 0).float()[:, None]
        )
        return (scale * self.clusters.similarity(z) + times.clamp_min(1e-30).log()).logsumexp(dim=1)

    @torch.no_grad()
    def after_step(self, emb: Embeddings) -> None:
        """Start the clusters once embeddings are apart, then move them."""
        query, positive = emb[self.config.query], emb[self.config.positive]
        both = comm.gather(query.present & positive.present)
        rows, others = (comm.gather(column.z.float())[both] for column in (query, positive))
        if self.clusters.started:
            self.clusters.follow(rows, rate=self.config.rate)
            return
        # The mean similarity of all pairs is the product of the means.
        apart = len(rows) > 0 and float(rows.mean(dim=0) @ others.mean(dim=0)) <= self.config.begin_below
        if apart and len(rows) >= self.config.clusters:
            self.clusters.start(rows)

    def problems(self, batch_rows: int) -> list[str]:
        """More clusters than rows to start them from."""
        if self.config.clusters <= batch_rows:
            return []
        return [
            f"cluster_negatives: clusters = {self.config.clusters} need as many rows to start from, and a batch has "
            f"{batch_rows}. Lower clusters or raise data.batch_rows."
        ]
