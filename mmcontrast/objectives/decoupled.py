"""Decoupled contrastive loss: InfoNCE without the positive in the denominator."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import (
    ScaledPairConfig,
    Temperature,
    Tile,
    log_sum_exp,
    pair_needs,
    picked,
    symmetric,
)
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("decoupled", "dcl")
class Decoupled(Objective):
    r"""Pulls the positive and pushes the negatives with no coupling between the two.

        loss_i = -w_i s sim(a_i, b_i) + log sum_{j != i} exp(s sim(a_i, b_j)),

    in both directions; with ``within``, j also runs over the other rows of a.  DCLW weighs the positive with
    w_i = 2 - exp(sim_i / sigma) / mean_k exp(sim_k / sigma), without gradient; plain DCL has w_i = 1.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: a row with no negative has loss 0.
    Source: Yeh et al. 2021, arXiv:2110.06848.  The paper contrasts two views of a picture with
    ``within``, and sums the directions where we average them.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        temperature: Temperature = 0.1  # the paper's
        within: bool = False  # the query's own column gives negatives too, as in the paper
        positives: Literal["even", "mises_fisher"] = "even"  # mises_fisher: DCLW's weights
        sigma: Positive = 0.5  # width of the weights, the paper's

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale = self.scale()
        weights = self._weights(emb)

        def per_row(tile: Tile) -> Tensor:
            logits = scale * tile.similarity
            loss = log_sum_exp(logits, tile.negative) - weights[tile.rows] * picked(logits, tile.positive)
            return torch.where(tile.negative.any(dim=1), loss, 0.0 * loss)

        loss = symmetric(emb, self.config, per_row, within=self.config.within)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})

    def _weights(self, emb: Embeddings) -> Tensor:
        a, b = (emb[name] for name in self.config.pair)
        if self.config.positives == "even":
            return torch.ones(len(a.z), device=a.z.device)
        both = (a.present & b.present).float()
        strength = ((a.z.detach().float() * b.z.detach().float()).sum(dim=1) / self.config.sigma).exp() * both
        mean = comm.all_sum(strength.sum()) / comm.all_sum(both.sum()).clamp_min(1.0)
        return 2 - strength / mean.clamp_min(torch.finfo(torch.float32).tiny)
