"""Generalised contrast for ranking: each pair weighs as much as its relevance says."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import Key, ScaledPairConfig, Tile, compare, cross_entropy_row
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("ranking_contrast", "gcl", "weighted_contrast")
class RankingContrast(Objective):
    r"""Symmetric InfoNCE with a weight for each pair, from its ranking score.

        loss = mean_i w(r_i) ( -log softmax_j(s sim(a_i, b_j))[i] - log softmax_j(s sim(b_i, a_j))[i] ) / 2,

    with w the identity (``linear``), log(1 + r) (``log``), or r over the batch's mean r (``relative``).

    Needs: the two columns, the relevance label (non-negative floats), and the ``group`` label if one is named: the
    documents of one query are no negatives of each other.
    Relations: equal relevance under ``relative`` is ``infonce``.
    Source: Zhu et al. 2024, arXiv:2404.08535, section 4: a weighted cross entropy with a score-to-weight function.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        relevance: str = "relevance"  # label with each pair's ranking score
        weights: Literal["linear", "log", "relative"] = "linear"  # from score to weight

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, the relevance and the group label."""
        labels = [name for name in (self.config.relevance, self.config.group) if name]
        return Needs(embeddings=tuple(sorted(self.config.pair)), labels=tuple(sorted(labels)))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the weighted mean over rows."""
        a, b = (emb[name] for name in self.config.pair)
        both = (a.present & b.present).float()
        group = emb.label(self.config.group) if self.config.group else None
        score = emb.label(self.config.relevance).float().clamp_min(0)
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        rows = compare(a, [Key(b, "positive")], per_row, group=group)
        rows = (rows + compare(b, [Key(a, "positive")], per_row, group=group)) / 2
        if self.config.weights == "log":
            score = torch.log1p(score)
        elif self.config.weights == "relative":
            mean = comm.all_sum((score * both).sum()) / comm.all_sum(both.sum()).clamp_min(1.0)
            score = score / mean.clamp_min(1e-12)
        loss = comm.row_mean(rows * score, both)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
