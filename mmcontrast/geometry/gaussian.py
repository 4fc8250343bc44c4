"""Multivariate normals with diagonal covariance: an embedding that knows how sure it is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mmcontrast.config import Positive, config
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.base import Geometry


@GEOMETRIES.register("gaussian")
class Gaussian(Geometry):
    r"""The first half of a vector is a mean, the second, through a softplus, the variances.

    Similarity is minus the divergence per dimension, -KL(a || b) / k with k = D / 2: not symmetric, for the query a
    should lie within the answer b.  Its sum over dimensions is two matrix products and terms of one side alone.

    Source: Zamani and Bendersky 2023, arXiv:2304.14522 (their score drops what the query alone
    decides, and does not divide by k).
    """

    @config
    class Config:
        """Fields of the geometry."""

        floor: Positive = 1e-3  # smallest variance

    @staticmethod
    def check_dim(dim: int) -> None:
        """Means and variances are halves."""
        if dim % 2:
            raise ValueError(f"dim {dim} must be even for the gaussian geometry: means, then variances.")

    def project(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Keep the means and make the variances positive."""
        mean, free = vectors.float().chunk(2, dim=-1)
        return torch.cat([mean, softplus(free) + self.config.floor], dim=-1)

    def similarity(self, a: Float[Tensor, "A D"], b: Float[Tensor, "B D"]) -> Float[Tensor, "A B"]:
        """Minus KL(a || b) per dimension, at most 0."""
        mean_a, variance_a = self._parts(a)
        mean_b, variance_b = self._parts(b)
        quadratic = (variance_a + mean_a.square()) @ (1 / variance_b).T - 2 * mean_a @ (mean_b / variance_b).T
        of_b = (mean_b.square() / variance_b + variance_b.log()).sum(dim=-1)
        of_a = 1 + variance_a.log()
        divergence = (quadratic + of_b[None, :] - of_a.sum(dim=-1)[:, None]) / 2
        return -divergence / mean_a.shape[-1]

    def inner_queries(self, points: Float[Tensor, "A D"]) -> Float[Tensor, "A D+1"]:
        """What the divergence takes from the query in its terms with the key."""
        mean, variance = self._parts(points)
        both = torch.cat([2 * mean, -(variance + mean.square()), -torch.ones_like(mean[:, :1])], dim=-1)
        return both / (2 * mean.shape[-1])

    def inner_keys(self, points: Float[Tensor, "B D"]) -> Float[Tensor, "B D+1"]:
        """What the divergence takes from the key; terms of the query alone are left out."""
        mean, variance = self._parts(points)
        alone = (mean.square() / variance + variance.log()).sum(dim=-1, keepdim=True)
        return torch.cat([mean / variance, 1 / variance, alone], dim=-1)

    def mean(self, points: Float[Tensor, "K D"]) -> Float[Tensor, " D"]:
        """The normal with the mixture's mean and variances."""
        mean, variance = self._parts(points)
        centre = mean.mean(dim=0)
        return torch.cat([centre, (variance + mean.square()).mean(dim=0) - centre.square()])

    def _parts(self, points: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = points.float().chunk(2, dim=-1)
        return mean, variance.clamp_min(self.config.floor)  # absent rows are zeros
