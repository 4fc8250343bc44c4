"""SimCSE: a sentence finds its other view, or its entailed sentence, among the batch's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, cross_entropy_row, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("simcse", "multiple_negatives_ranking")
class SimCSE(Objective):
    r"""One-directional in-batch contrast, with contradictions as extra negatives where there are some.

        loss_i = -log( e^{s sim(h_i, h+_i)} / sum_j (e^{s sim(h_i, h+_j)} + e^{s sim(h_i, h-_j)}) ).

    Unsupervised, h+ is the same sentence under other dropout: a column ``text.view2`` that copies ``text``.
    Supervised, h+ is an entailed sentence and h- (``negative``) a contradicting one.

    Needs: the query and positive columns, the negative if one is named; the ``group`` label if one is named.
    Relations: sentence-transformers' MultipleNegativesRankingLoss at scale 1 / temperature.
    Source: Gao et al. 2021, arXiv:2104.08821.
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        positive: str = "text.view2"
        negative: str | None = None  # column of contradictions; null: in-batch negatives alone
        temperature: Temperature = 0.05  # the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

        def __post_init__(self) -> None:
            if len({self.query, self.positive, self.negative}) < 3:
                raise ValueError("query, positive and negative must be different columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=False)

    def needs(self) -> Needs:
        """The columns, and the group label."""
        columns = [name for name in (self.config.query, self.config.positive, self.config.negative) if name]
        return pair_needs(columns, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with query and positive."""
        query, positive = emb[self.config.query], emb[self.config.positive]
        keys = [Key(positive, "positive")]
        if self.config.negative:
            keys.append(Key(emb[self.config.negative], "negative"))
        group = emb.label(self.config.group) if self.config.group else None
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        rows = compare(query, keys, per_row, group=group)
        return Terms(loss=comm.row_mean(rows, (query.present & positive.present).float()))
