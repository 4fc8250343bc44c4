"""Model-aware contrast: the temperature follows alignment, and gradients are evened out."""

from __future__ import annotations

from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Fraction, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.objectives.pairwise import PairConfig, Temperature, Tile, log_sum_exp, pair_needs, picked, symmetric
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("macl", "model_aware")
class MACL(Objective):
    r"""InfoNCE with a temperature that rises as positives align, and with the vanishing gradient scaled back.

        tau = tau_0 (1 + alpha (A - A_0)),   A = mean_i sim(a_i, b_i),
        loss_i = -V_i log p_i,   V_i = 1 / (1 - p_i),

    where p_i is the softmax of the positive at 1 / tau; A and V carry no gradient.  In both directions; with
    ``within``, negatives also come from the query's own column.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: ``within`` is lightly's MACLLoss.
    Source: Huang et al. 2023, arXiv:2207.07874.
    """

    @config
    class Config(PairConfig):
        """Fields of the objective."""

        temperature: Temperature = 0.1  # tau_0
        alpha: Fraction = 0.5  # how far the temperature follows the alignment
        threshold: Fraction = 0.0  # A_0, the alignment at which the temperature is tau_0
        within: bool = False  # the query's own column gives negatives too, as in the paper

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        a, b = (emb[name] for name in self.config.pair)
        both = (a.present & b.present).float()
        cosine = (a.z.detach().float() * b.z.detach().float()).sum(dim=1)
        alignment = comm.all_sum((cosine * both).sum()) / comm.all_sum(both.sum()).clamp_min(1.0)
        temperature = self.config.temperature * (1 + self.config.alpha * (alignment - self.config.threshold))
        temperature = temperature.clamp_min(0.01)

        def per_row(tile: Tile) -> Tensor:
            logits = tile.similarity / temperature
            everything = log_sum_exp(logits, tile.positive | tile.negative)
            # 1 / (1 - p), from the negatives' mass: 1 - p itself loses its digits as p nears 1.
            factor = (everything - log_sum_exp(logits, tile.negative)).detach().clamp_max(18.0).exp()
            return factor * (everything - picked(logits, tile.positive))

        loss = symmetric(emb, self.config, per_row, within=self.config.within)
        return Terms(loss=loss, scalars={"temperature": temperature.detach(), "alignment": alignment.detach()})
