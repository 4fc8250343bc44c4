"""Debiased contrast: negatives corrected for those that are secretly positive, and hard ones emphasised."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import MASKED, ScaledPairConfig, Temperature, Tile, pair_needs, picked, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("debiased", "hcl")
class Debiased(Objective):
    r"""InfoNCE whose negative mass is estimated as if no negative were of the positive's class.

    With N negatives a row, scale s = 1 / t, prior tau and hardness beta,

        loss_i = -log( e^{s sim_ii} / (e^{s sim_ii} + N g_i) ),
        N g_i = max( (sum_j w_ij e^{s sim_ij} - N tau e^{s sim_ii}) / (1 - tau),  N e^{-s} ),
        w_ij = e^{beta s sim_ij} / mean_k e^{beta s sim_ik},

    in both directions; with ``within``, negatives also come from the query's own column.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: prior 0 and hardness 0 is InfoNCE, up to the floor N e^{-s}, which no similarity goes below.
    Source: Chuang et al. 2020, arXiv:2007.00224 (one positive); hardness: Robinson et al. 2021,
    arXiv:2010.04592, section 4.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        temperature: Temperature = 0.5  # the paper's
        learn_temperature: bool = False
        prior: Annotated[float, Ge(0), Lt(1)] = 0.1  # probability that a negative is of the positive's class
        hardness: NonNegative = 0.0  # beta; 0 weighs all negatives alike
        within: bool = False  # the query's own column gives negatives too, as in the paper

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale, prior = self.scale(), self.config.prior

        def per_row(tile: Tile) -> Tensor:
            logits = scale * tile.similarity
            positive = picked(logits, tile.positive)
            # Everything relative to the largest exponent of the row: e^{100} does not fit float32.
            top = logits.masked_fill(~(tile.positive | tile.negative), MASKED).amax(dim=1).detach()
            negatives = (logits - top[:, None]).exp() * tile.negative
            count = tile.negative.sum(dim=1)
            hard = (self.config.hardness * (logits - top[:, None])).exp() * tile.negative
            weighted = (hard * negatives).sum(dim=1) * count / hard.sum(dim=1).clamp_min(torch.finfo(hard.dtype).tiny)
            pull = (positive - top).exp()
            mass = (weighted - count * prior * pull) / (1 - prior)
            mass = torch.maximum(mass, count * (-scale - top).exp())
            return (pull + mass).log() + top - positive

        loss = symmetric(emb, self.config, per_row, within=self.config.within)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
