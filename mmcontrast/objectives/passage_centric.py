"""PAIR's passage-centric term: a passage is closer to its query than to the query's hard negatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Fraction, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, cross_entropy_row, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("passage_centric", "pair")
class PassageCentric(Objective):
    r"""Query-centric and passage-centric contrast, mixed.

        L_Q = -log( e^{s sim(q, p+)} / (e^{s sim(q, p+)} + sum e^{s sim(q, p-)}) ),
        L_P = -log( e^{s sim(p+, q)} / (e^{s sim(p+, q)} + sum e^{s sim(p+, p-)}) ),
        loss = (1 - alpha) L_Q + alpha L_P,

    where p- runs over the other rows' passages and, if named, over all mined negatives.

    Needs: query, passage and negative columns; the ``group`` label if one is named.
    Relations: alpha 0 is ``simcse`` of the query and its passage.
    Source: Ren et al. 2021, arXiv:2108.06027.
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        passage: str = "image"
        negative: str | None = None  # column of mined negatives; null: in-batch negatives alone
        alpha: Fraction = 0.1  # share of the passage-centric part, the paper's
        temperature: Temperature = 0.05
        learn_temperature: bool = True
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

        def __post_init__(self) -> None:
            if len({self.query, self.passage, self.negative}) < 3:
                raise ValueError("query, passage and negative must be different columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The columns, and the group label."""
        columns = [name for name in (self.config.query, self.config.passage, self.config.negative) if name]
        return pair_needs(columns, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with query and passage."""
        query, passage = emb[self.config.query], emb[self.config.passage]
        mined = [Key(emb[self.config.negative], "negative")] if self.config.negative else []
        group = emb.label(self.config.group) if self.config.group else None
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        from_query = compare(query, [Key(passage, "positive"), *mined], per_row, group=group)

        def per_passage(tile: Tile) -> Tensor:
            # Keys are queries, then passages: of the queries only the row's own counts.
            negative = tile.negative.clone()
            negative[:, : len(query.z) * comm.world_size()] = False
            kept = Tile(tile.rows, tile.similarity, tile.positive, negative, tile.alike)
            return cross_entropy_row(kept, scale * tile.similarity)

        keys = [Key(query, "positive"), Key(passage, "self"), *mined]
        from_passage = compare(passage, keys, per_passage, group=group)
        rows = (1 - self.config.alpha) * from_query + self.config.alpha * from_passage
        return Terms(loss=comm.row_mean(rows, (query.present & passage.present).float()))
