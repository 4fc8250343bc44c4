"""SimCLR: two views of one input find each other among all other rows of both."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import (
    ScaledPairConfig,
    Temperature,
    Tile,
    cross_entropy_row,
    pair_needs,
    symmetric,
)
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("simclr", "nt_xent", "intra_modal")
class SimCLR(Objective):
    r"""Normalised temperature-scaled cross entropy over two views.

        loss_i = -log( e^{s sim(a_i, b_i)} / sum_{j != i or other view} e^{s sim(a_i, .)} ),

    where the sum runs over every view of every row but the query itself; both views are queries.

    Needs: the two columns, usually views of one modality; the ``group`` label if one is named.
    Relations: lightly's NTXentLoss.  Added to ``infonce`` over image and text, it is SLIP.
    Source: Chen et al. 2020, arXiv:2002.05709, equation 1; as a term beside CLIP: Mu et al. 2021, arXiv:2112.12750.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "image.view2")
        temperature: Temperature = 0.1  # SLIP's; SimCLR tunes 0.1 to 0.5
        learn_temperature: bool = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The views, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and views."""
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        return Terms(loss=symmetric(emb, self.config, per_row, within=True))
