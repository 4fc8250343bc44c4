"""MERU's contrast and entailment in hyperbolic space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmcontrast import comm, lorentz
from mmcontrast.config import NonNegative, Positive, config
from mmcontrast.errors import ConfigError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Similarity, Spaces
from mmcontrast.objectives.pairwise import ScaledPairConfig, Tile, cross_entropy_row, pair_needs, symmetric
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("entailment", "meru", "hyperbolic_contrast")
class Entailment(Objective):
    r"""Cross entropy of minus the distances, and a cone around each general point that holds its specific one.

        contrast_i = -log softmax_j(-s d(a_i, b_j))[i], in both directions,
        entail_i = max(0, angle(x_i, y_i) - aperture(x_i)),

    x the general column (text entails pictures), y the other, d the geodesic distance of the model's geometry.

    Needs: the two columns; ``model.geometry: {type: lorentz}``.
    Source: Desai et al. 2023 (MERU), arXiv:2304.09172.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        general: str = "text"  # column of the pair whose points hold the other's in their cones
        entail: NonNegative = 0.2  # factor of the entailment term, the paper's
        nearest: Positive = 0.1  # K: closer to the origin, cones grow no wider

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.general not in self.pair:
                raise ValueError(f"general: '{self.general}' is not in the pair {self.pair}.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)
        self._curvature: Callable[[], Tensor] | None = None
        self._similarity: Similarity | None = None

    def attach(self, spaces: Spaces) -> None:
        """Take the curvature from the model's geometry.

        Raises:
            ConfigError: that geometry is flat.
        """
        if spaces.curvature is None:
            raise ConfigError(
                "objective 'entailment' measures in hyperbolic space, and model.geometry has no curvature.\n"
                "  Set model.geometry: {type: lorentz}, and heads: {image: {type: scaled_linear}, ...}."
            )
        self._curvature, self._similarity = spaces.curvature, spaces.similarity

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the contrast plus the weighted entailment term."""
        assert self._curvature is not None, "attach() comes first"
        c, scale = self._curvature(), self.scale()
        a, b = (emb[name] for name in self.config.pair)
        both = a.present & b.present

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        contrast = symmetric(emb, self.config, per_row, similarity=self._similarity)
        general, specific = (a, b) if self.config.general == self.config.pair[0] else (b, a)
        entail = comm.row_mean(self._entail(general, specific, both, c), both.float())
        return Terms(
            loss=contrast + self.config.entail * entail,
            scalars={
                "contrast": contrast.detach(),
                "entail": entail.detach(),
                "curvature": c.detach().squeeze(0),
                "logit_scale": scale.detach().squeeze(0),
            },
        )

    def _entail(self, general: Embedded, specific: Embedded, both: Tensor, c: Tensor) -> Tensor:
        # Absent points would lie at the origin, where angles mean nothing: any others stand in for them.
        x = general.z.float().masked_fill(~both[:, None], 1.0)
        y = specific.z.float().masked_fill(~both[:, None], 2.0)
        aperture = lorentz.half_apertures(x, c, nearest=self.config.nearest)
        return torch.relu(lorentz.exterior_angles(x, y, c) - aperture)
