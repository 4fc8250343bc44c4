"""Alignment and uniformity, within each modality and across."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, refuse_one_column
from mmcontrast.objectives.pairwise import Key, Tile, compare, log_sum_exp, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("alignment_uniformity", "uniformity", "contrastive_gap")
class AlignmentUniformity(Objective):
    r"""Pulls pairs together and spreads points over the sphere, as separate terms.

        align   = mean_i |a_i - b_i|^alpha,
        uniform = mean over the two columns x of log mean_{i != j} exp(-t |x_i - x_j|^2),
        across  = log mean_{i != j} exp(-t |a_i - b_j|^2),

    over present cells; for ``align``, over rows with both present.

    Needs: the two columns.
    Relations: ``infonce`` plus align and uniform is CUA, plus across as well is CUAXU, which close the contrastive
    gap between modalities.
    Source: Wang and Isola 2020, arXiv:2005.10242, section 4.1; across: Fahim et al. 2024, arXiv:2405.18570.  Where
    the latter divides by N, we divide by the number of pairs, which moves the loss by a constant.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "text")
        align: NonNegative = 1.0  # factor of the alignment term
        uniform: NonNegative = 1.0  # factor of the uniformity term
        across: NonNegative = 0.0  # factor of the cross-modal uniformity term
        alpha: Positive = 2.0  # power of the alignment distance
        t: Positive = 2.0  # sharpness of the uniformity kernel
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the weighted sum of the terms, and each term."""
        a, b = (emb[name] for name in self.config.pair)
        both = (a.present & b.present).float()
        square = (a.z.float() - b.z.float()).square().sum(dim=1)
        # The root's gradient at 0 is infinite; identical points pull no further.
        distance = square if self.config.alpha == 2 else square.clamp_min(1e-12) ** (self.config.alpha / 2)
        align = comm.row_mean(distance, both)
        uniform = (self._spread(a, a) + self._spread(b, b)) / 2
        across = self._spread(a, b)
        loss = self.config.align * align + self.config.uniform * uniform + self.config.across * across
        scalars = {"align": align.detach(), "uniform": uniform.detach(), "across": across.detach()}
        return Terms(loss=loss, scalars=scalars)

    def _spread(self, a: Embedded, b: Embedded) -> Tensor:
        t = self.config.t
        squares = comm.gather(b.z.float().square().sum(dim=1))

        def per_row(tile: Tile) -> Tensor:
            mine = a.z[tile.rows].float().square().sum(dim=1)
            exponent = -t * (mine[:, None] + squares[None, :] - 2 * tile.similarity)
            row = log_sum_exp(exponent, tile.negative)
            return torch.stack([row, tile.negative.sum(dim=1).to(row.dtype)], dim=1)

        rows = compare(a, [Key(b, "self")], per_row)
        counted = rows[:, 1].detach() * a.present
        mass = (rows[:, 0].exp() * (counted > 0)).sum()
        # Gathered with gradient: the log of the global sum stands on every rank alike.
        total = comm.gather(mass[None]).sum()
        pairs = comm.all_sum(counted.sum())
        if float(pairs) == 0:
            return 0.0 * total
        return (total / pairs).clamp_min(torch.finfo(torch.float32).tiny).log()
