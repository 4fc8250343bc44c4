"""DiHT's contrast: hard negatives weigh more, and the positive less."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch import Tensor

from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import ScaledPairConfig, Tile, log_sum_exp, pair_needs, picked, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("diht", "hn_nce")
class DiHT(Objective):
    r"""InfoNCE with importance-weighted negatives (HN-NCE).

    With N negatives a row and scale s,

        loss_i = -log( e^{s sim_ii} / (alpha e^{s sim_ii} + sum_j w_ij e^{s sim_ij}) ),
        w_ij = N e^{beta s sim_ij} / sum_k e^{beta s sim_ik},

    in both directions.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: alpha 1 and beta 0 is ``infonce``; alpha towards 0 and beta 0 is ``decoupled``.
    Source: Radenovic et al. 2023, arXiv:2301.02280.  We average the two directions.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        alpha: Annotated[float, Gt(0), Le(1)] = 1.0  # share of the positive in the denominator, the paper's
        beta: NonNegative = 0.25  # hardness; 0 weighs all negatives alike; the paper's for its smaller sets

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale, beta = self.scale(), self.config.beta
        log_alpha = math.log(self.config.alpha)

        def per_row(tile: Tile) -> Tensor:
            logits = scale * tile.similarity
            positive = picked(logits, tile.positive)
            count = tile.negative.sum(dim=1).clamp_min(1)
            hard = log_sum_exp((1 + beta) * logits, tile.negative)
            mass = hard + count.log() - log_sum_exp(beta * logits, tile.negative)
            mass = torch.where(tile.negative.any(dim=1), mass, hard)  # no negative: as good as minus infinity
            return torch.logaddexp(positive + log_alpha, mass) - positive

        loss = symmetric(emb, self.config, per_row)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
