"""Energy-based contrast: positives at distance 0, negatives beyond a margin."""

from __future__ import annotations

from torch import Tensor

from mmcontrast.config import Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.objectives.pairwise import PairConfig, Tile, pair_needs, picked, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("energy_hinge", "contrastive_loss", "hadsell")
class EnergyHinge(Objective):
    r"""Squared distance of positives, squared hinge on the distance of negatives.

        loss_i = d_ii^2 / 2 + mean_j max(0, m - d_ij)^2 / 2,   d = |a_i - b_j|,

    over negatives j, in both directions.

    Needs: the two columns; the ``group`` label if one is named.
    Source: Hadsell et al. 2006 (Dimensionality reduction by learning an invariant mapping); the energy
    view: LeCun et al. 2006 (A tutorial on energy-based learning), section 2.2.  The mean over negatives is ours, so
    that a row's two parts weigh alike at any batch size.
    """

    @config
    class Config(PairConfig):
        """Fields of the objective."""

        margin: Positive = 1.0  # distance beyond which a negative is left alone; unit vectors are at most 2 apart

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""

        def per_row(tile: Tile) -> Tensor:
            square = (2 - 2 * tile.similarity).clamp_min(1e-12)  # unit vectors; off 0, where the root has no gradient
            push = (self.config.margin - square.sqrt()).relu().square().masked_fill(~tile.negative, 0.0)
            push = push.sum(dim=1) / tile.negative.sum(dim=1).clamp_min(1)
            return (picked(square, tile.positive) + push) / 2

        return Terms(loss=symmetric(emb, self.config, per_row))
