"""Focal contrast: rows that are found already count less."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import ScaledPairConfig, Tile, cross_entropy_row, pair_needs, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("focal", "focal_itc")
class Focal(Objective):
    r"""InfoNCE whose rows are weighted by how far they are from found.

        loss_i = -(1 - p_i)^gamma log p_i,   p_i = softmax_j(s sim(a_i, b_j))[i],

    in both directions.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: gamma 0 is ``infonce``.
    Source: Lin et al. 2017, arXiv:1708.02002, applied to image-text contrast as in Park and Han 2023,
    arXiv:2304.00719, section 4.2.  That paper's text-driven soft masks are ``soft_masks``.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        gamma: NonNegative = 2.0  # Lin et al.'s

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            surprise = cross_entropy_row(tile, scale * tile.similarity)
            # 1 - p, kept off 0, where a power below 1 has no gradient.
            missing = (-(-surprise).expm1()).clamp_min(1e-7)
            return missing**self.config.gamma * surprise

        loss = symmetric(emb, self.config, per_row)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
