"""Hinge on similarities: each positive must beat negatives by a margin."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mmcontrast.config import Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.objectives.pairwise import MASKED, PairConfig, Tile, pair_needs, picked, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("margin", "vse", "hinge", "triplet")
class Margin(Objective):
    r"""Triplet hinge over the batch.

        sum:     loss_i = sum_j max(0, m - sim(a_i, b_i) + sim(a_i, b_j)),
        hardest: loss_i = max_j max(0, m - sim(a_i, b_i) + sim(a_i, b_j)),

    over negatives j, in both directions.

    Needs: the two columns; the ``group`` label if one is named.
    Source: Faghri et al. 2018, arXiv:1707.05612; ``hardest`` is VSE++.  We average the two
    directions and the rows, where the paper sums.
    """

    @config
    class Config(PairConfig):
        """Fields of the objective."""

        margin: Positive = 0.2  # the paper's
        negatives: Literal["sum", "hardest"] = "hardest"

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""

        def per_row(tile: Tile) -> Tensor:
            positive = picked(tile.similarity, tile.positive)[:, None]
            over = self.config.margin - positive + tile.similarity
            over = over.masked_fill(~tile.negative, MASKED).relu()
            return over.sum(dim=1) if self.config.negatives == "sum" else over.amax(dim=1)

        return Terms(loss=symmetric(emb, self.config, per_row))
