"""VICReg: variance, invariance and covariance, each by its own term."""

from __future__ import annotations

from torch import Tensor

from mmcontrast.config import NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, refuse_one_column
from mmcontrast.objectives.pairwise import gathered_rows, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms

EPSILON = 1e-4  # under the root of the variance, the paper's


@OBJECTIVES.register("vicreg")
class VICReg(Objective):
    r"""Views agree, every dimension varies, and no two dimensions vary together.

        loss = lambda mean_ik (a_ik - b_ik)^2 + mu (V(a) + V(b)) / 2 + nu (C(a) + C(b)),
        V(z) = mean_k max(0, gamma - sqrt(var_k + 1e-4)),   C(z) = 1/D sum_{k != l} cov_kl^2,

    over the rows of the global batch with both columns present, with z times ``scale``.

    Needs: the two columns.
    Relations: lightly's VICRegLoss at scale 1.  No negatives, no temperature.
    Source: Bardes et al. 2022, arXiv:2105.04906; the halved variance term as in the authors' code.
    Their embeddings are unbounded.  On the unit sphere a dimension's deviation is about 1 / sqrt(D), hence ``scale``.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "image.view2")
        invariance: NonNegative = 25.0  # lambda, the paper's
        variance: NonNegative = 25.0  # mu, the paper's
        covariance: NonNegative = 1.0  # nu, the paper's
        deviation: Positive = 1.0  # gamma: standard deviation wanted of each dimension
        scale: Positive | None = None  # embeddings are multiplied by it; null: sqrt(D), for unit vectors
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the loss of the global batch, on every rank alike."""
        a, b = gathered_rows(emb, self.config.pair)
        scale = self.config.scale or a.shape[1] ** 0.5
        a, b = a * scale, b * scale
        if len(a) < 2:  # no variance to speak of
            return Terms(loss=0.0 * (a.sum() + b.sum()))
        invariance = (a - b).square().mean()
        variance = (self._spread(a) + self._spread(b)) / 2
        covariance = _redundancy(a) + _redundancy(b)
        loss = (
            self.config.invariance * invariance + self.config.variance * variance + self.config.covariance * covariance
        )
        parts = {"invariance": invariance, "variance": variance, "covariance": covariance}
        return Terms(loss=loss, scalars={name: value.detach() for name, value in parts.items()})

    def _spread(self, z: Tensor) -> Tensor:
        return (self.config.deviation - (z.var(dim=0) + EPSILON).sqrt()).relu().mean()


def _redundancy(z: Tensor) -> Tensor:
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (len(z) - 1)  # (D, D)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
