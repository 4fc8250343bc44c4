"""Retrieval with several mined hard negatives a query, and those that are secretly right taken out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, cross_entropy_row
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("mined_negatives", "dpr", "rocketqa")
class MinedNegatives(Objective):
    r"""A query finds its passage among all ranks' passages and all ranks' mined negatives.

        loss_i = -log( e^{s sim(q_i, p_i)} / (sum_j e^{s sim(q_i, p_j)} + sum_j sum_k e^{s sim(q_i, n_jk)}) ).

    Denoising: where ``scores`` names a label for each negative column (a cross-encoder's probability that it answers
    the query), a negative that scores ``drop_above`` or more is left out.

    Needs: query, positive and negative columns; the score labels and the ``group`` label if named.
    Relations: without negatives, ``simcse``.  One negative is DPR; cross-batch negatives and denoising are RocketQA.
    Source: Karpukhin et al. 2020, arXiv:2004.04906; Qu et al. 2021, arXiv:2010.08191, section 3.2
    (a negative counts as false when its score is above 0.9, and is sampled below 0.1, which is for the miner).
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        positive: str = "image"
        negatives: tuple[str, ...] = ("image.mined",)
        scores: tuple[str, ...] = ()  # one label a negative column; empty: none is left out
        drop_above: NonNegative = 0.9  # RocketQA's
        temperature: Temperature = 0.05
        learn_temperature: bool = True
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

        def __post_init__(self) -> None:
            if not self.negatives:
                raise ValueError("negatives: name one or more columns of mined negatives.")
            if len({self.query, self.positive, *self.negatives}) < 2 + len(self.negatives):
                raise ValueError("query, positive and negatives must be different columns.")
            if self.scores and len(self.scores) != len(self.negatives):
                raise ValueError(f"scores has {len(self.scores)} labels for {len(self.negatives)} negative columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The columns and labels."""
        config = self.config
        labels = {*config.scores, *([config.group] if config.group else [])}
        return Needs(
            embeddings=tuple(sorted({config.query, config.positive, *config.negatives})), labels=tuple(sorted(labels))
        )

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with query and positive."""
        query, positive = emb[self.config.query], emb[self.config.positive]
        keys = [Key(positive, "positive")]
        keys += [Key(self._kept(emb, place), "negative") for place in range(len(self.config.negatives))]
        group = emb.label(self.config.group) if self.config.group else None
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        rows = compare(query, keys, per_row, group=group)
        loss = comm.row_mean(rows, (query.present & positive.present).float())
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})

    def _kept(self, emb: Embeddings, place: int) -> Embedded:
        column = emb[self.config.negatives[place]]
        if not self.config.scores:
            return column
        score = emb.label(self.config.scores[place]).float()
        return replace(column, present=column.present & (score < self.config.drop_above))
