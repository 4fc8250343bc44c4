"""CyCLIP's consistency terms: similarities should not depend on which modality measures them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, refuse_one_column
from mmcontrast.objectives.pairwise import TILE_CELLS, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("cyclip", "cyclic_consistency")
class CyCLIP(Objective):
    r"""In-modal and cross-modal cyclic consistency, over the N rows with both columns present.

        in-modal:    1/N sum_i sum_j (sim(a_i, a_j) - sim(b_i, b_j))^2,
        cross-modal: 1/N sum_i sum_j (sim(a_i, b_j) - sim(a_j, b_i))^2.

    Needs: the two columns.
    Relations: CyCLIP is ``infonce`` plus this, with factors 0.25.
    Source: Goel et al. 2022, arXiv:2205.14459.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "text")
        in_modal: NonNegative = 0.25  # factor of the in-modal term, the paper's
        cross_modal: NonNegative = 0.25  # factor of the cross-modal term, the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the two terms' weighted sum."""
        a, b = (emb[name] for name in self.config.pair)
        both = a.present & b.present
        mine = (a.z.float(), b.z.float())
        keys = (comm.gather(mine[0]), comm.gather(mine[1]))
        allowed = comm.gather(both).float()
        parts = []
        step = max(1, TILE_CELLS // len(allowed))
        for first in range(0, len(both), step):
            tile = (mine[0][first : first + step], mine[1][first : first + step], *keys, allowed)
            # One tile needs no second computation; several would otherwise all be kept for backward.
            parts.append(_rows(*tile) if len(both) <= step else checkpoint(_rows, *tile, use_reentrant=False))
        terms = torch.cat(parts)  # (B, 2)
        in_modal = comm.row_mean(terms[:, 0], both.float())
        cross_modal = comm.row_mean(terms[:, 1], both.float())
        loss = self.config.in_modal * in_modal + self.config.cross_modal * cross_modal
        return Terms(loss=loss, scalars={"in_modal": in_modal.detach(), "cross_modal": cross_modal.detach()})


def _rows(a: Tensor, b: Tensor, keys_a: Tensor, keys_b: Tensor, allowed: Tensor) -> Tensor:
    in_modal = ((a @ keys_a.T - b @ keys_b.T).square() * allowed).sum(dim=1)
    cross_modal = ((a @ keys_b.T - b @ keys_a.T).square() * allowed).sum(dim=1)
    return torch.stack([in_modal, cross_modal], dim=1)
