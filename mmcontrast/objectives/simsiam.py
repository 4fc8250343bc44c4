"""SimSiam: as BYOL, with the other view itself in the place of a momentum copy."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import cosine_similarity

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces, refuse_one_column
from mmcontrast.objectives.byol import spread
from mmcontrast.objectives.predictor import Predictor
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("simsiam")
class SimSiam(Objective):
    r"""Negative cosine to the other view, behind a predictor and a stopped gradient.

        loss_i = -cos(q(a_i), b_i) / 2 - cos(q(b_i), a_i) / 2,   without gradient through the second arguments.

    Needs: the two columns.
    Relations: ``byol`` with ``model.momentum`` 0 and without the factor 4.
    Source: Chen and He 2021, arXiv:2011.10566.  The predictor has layer norm where theirs has batch
    norm.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "image.view2")
        hidden: Count = 512  # width inside the predictor, the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)

    predictor: Predictor

    def attach(self, spaces: Spaces) -> None:
        """Build the predictor."""
        self.predictor = Predictor(dim=spaces.dim, hidden=self.config.hidden)

    def needs(self) -> Needs:
        """The views."""
        return Needs(embeddings=tuple(sorted(self.config.pair)))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with both views."""
        first, second = (emb[name] for name in self.config.pair)
        rows: Any = 0.0
        for a, b in ((first, second), (second, first)):
            rows = rows - cosine_similarity(self.predictor(a.z), b.z.detach().float(), dim=1) / 2
        both = (first.present & second.present).float()
        return Terms(loss=comm.row_mean(rows, both), scalars={"spread": spread(first)})
