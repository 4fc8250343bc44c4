"""The unit sphere with cosine similarity: CLIP's geometry."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.config import config
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.base import Geometry


@GEOMETRIES.register("sphere")
class Sphere(Geometry):
    """Unit vectors compared by their dot product, in float32.

    Source: Radford et al. 2021, arXiv:2103.00020, section 2.3.
    """

    dot_product: ClassVar[bool] = True

    @config
    class Config:
        """No fields."""

    def project(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Scale each row to length 1; an all-zero row stays zero."""
        return normalize(vectors.float(), dim=-1)

    def similarity(self, a: Float[Tensor, "A D"], b: Float[Tensor, "B D"]) -> Float[Tensor, "A B"]:
        """Cosine similarity, in [-1, 1]."""
        return a.float() @ b.float().T

    def inner_queries(self, points: Float[Tensor, "A D"]) -> Float[Tensor, "A D"]:
        """The points themselves."""
        return points.float()

    def inner_keys(self, points: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The points themselves."""
        return points.float()

    def mean(self, points: Float[Tensor, "K D"]) -> Float[Tensor, " D"]:
        """Mean of unit vectors, scaled back to length 1."""
        return normalize(points.float().mean(dim=0), dim=-1)
