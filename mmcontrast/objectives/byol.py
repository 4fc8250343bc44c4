"""BYOL: the online view predicts what the momentum copy says of the other view; no negatives."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces, refuse_one_column
from mmcontrast.objectives.predictor import Predictor
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("byol")
class BYOL(Objective):
    r"""Bootstrap your own latent.

        loss_i = (2 - 2 cos(q(a_i), b'_i)) + (2 - 2 cos(q(b_i), a'_i)),

    q a predictor, b' and a' by the momentum copy, without gradient.

    Needs: the two columns, and both by the momentum copy.
    Relations: the copy's speed is ``model.momentum``.
    Source: Grill et al. 2020, arXiv:2006.07733.  The predictor has layer norm where theirs has batch norm.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "image.view2")
        hidden: Count = 4096  # width inside the predictor, the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)

    predictor: Predictor

    def attach(self, spaces: Spaces) -> None:
        """Build the predictor."""
        self.predictor = Predictor(dim=spaces.dim, hidden=self.config.hidden)

    def needs(self) -> Needs:
        """The views, online and by the momentum copy."""
        pair = tuple(sorted(self.config.pair))
        return Needs(embeddings=pair, momentum=pair)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with both views."""
        first, second = self.config.pair
        rows: Any = 0.0
        for a, b in ((first, second), (second, first)):
            rows = rows + 2 - 2 * cosine_similarity(self.predictor(emb[a].z), emb.momentum(b).z.float(), dim=1)
        both = (emb[first].present & emb[second].present).float()
        return Terms(loss=comm.row_mean(rows, both), scalars={"spread": spread(emb[first])})


@torch.no_grad()
def spread(column: Embedded) -> torch.Tensor:
    """Mean standard deviation of the dimensions, times sqrt(D): about 1 on a full sphere, 0 when collapsed."""
    z = column.z[column.present]
    if len(z) < 2:
        return z.new_zeros(())
    return z.float().std(dim=0).mean() * z.shape[1] ** 0.5
