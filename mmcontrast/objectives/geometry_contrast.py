"""InfoNCE by whatever similarity the model's geometry has."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Similarity, Spaces
from mmcontrast.objectives.pairwise import ScaledPairConfig, Tile, cross_entropy_row, pair_needs, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("geometry_contrast", "gaussian_contrast")
class GeometryContrast(Objective):
    r"""Symmetric cross entropy of s sim(a_i, b_j), sim being the geometry's own: KL, distance, cosine.

    Where the similarity is not symmetric, each direction has its query first.

    Needs: the two columns.
    Relations: on the sphere it is ``infonce`` with one pair; on ``lorentz``, ``entailment`` without its cones.
    Source: van den Oord et al. 2018, arXiv:1807.03748; with KL: Zamani and Bendersky 2023,
    arXiv:2304.14522, section 3.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)
        self._similarity: Similarity | None = None

    def attach(self, spaces: Spaces) -> None:
        """Take the similarity from the model's geometry."""
        self._similarity = spaces.similarity

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        loss = symmetric(emb, self.config, per_row, similarity=self._similarity)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
