"""Barlow Twins: two views agree in each dimension, and dimensions do not repeat each other."""

from __future__ import annotations

from torch import Tensor

from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, refuse_one_column
from mmcontrast.objectives.pairwise import gathered_rows, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms

EPSILON = 1e-5  # of the standardisation, batch norm's


@OBJECTIVES.register("barlow_twins", "redundancy_reduction")
class BarlowTwins(Objective):
    r"""The cross-correlation matrix of two views becomes the identity.

        loss = sum_k (1 - C_kk)^2 + lambda sum_k sum_{l != k} C_kl^2,   C = 1/N sum_i u_i v_i^T,

    with u and v the two columns, standardised in each dimension over the rows of the global batch with both present.

    Needs: the two columns.
    Relations: lightly's BarlowTwinsLoss.  There are no negatives, and no temperature.
    Source: Zbontar et al. 2021, arXiv:2103.03230.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "image.view2")
        redundancy: NonNegative = 0.0051  # lambda, the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the loss of the global batch, on every rank alike."""
        a, b = gathered_rows(emb, self.config.pair)
        if len(a) < 2:  # nothing can be standardised
            return Terms(loss=0.0 * (a.sum() + b.sum()))
        cross = standardised(a).T @ standardised(b) / len(a)  # (D, D)
        diagonal = cross.diagonal()
        same = (1 - diagonal).square().sum()
        other = cross.square().sum() - diagonal.square().sum()
        return Terms(loss=same + self.config.redundancy * other, scalars={"agreement": diagonal.detach().mean()})


def standardised(z: Tensor) -> Tensor:
    """Scale each dimension to mean 0 and variance 1 over rows."""
    centred = z - z.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + EPSILON).sqrt()
