"""What a geometry offers, so that evaluators and objectives need to know none by name."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn


class Geometry(nn.Module):
    """Maps head outputs onto a space, and compares points of that space."""

    dot_product: ClassVar[bool] = False  # similarity is the dot product of the coordinates
    curved: ClassVar[bool] = False  # hyperbolic, with a curvature

    class Config:
        """Fields of the geometry; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @staticmethod
    def check_dim(dim: int) -> None:
        """Refuse a width that the space cannot have.

        Raises:
            ValueError: with the reason; nothing by default.
        """

    def curvature(self) -> Float[Tensor, 1]:
        """Minus the curvature of a ``curved`` space."""
        raise NotImplementedError

    def project(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Map free vectors onto the space."""
        raise NotImplementedError

    def similarity(self, a: Float[Tensor, "A D"], b: Float[Tensor, "B D"]) -> Float[Tensor, "A B"]:
        """Similarity of every point of ``a`` with every point of ``b``; larger is closer."""
        raise NotImplementedError

    def inner_queries(self, points: Float[Tensor, "A D"]) -> Float[Tensor, "A L"]:
        """Vectors whose dot products with :meth:`inner_keys` order the keys of each query as the similarity does."""
        raise NotImplementedError

    def inner_keys(self, points: Float[Tensor, "B D"]) -> Float[Tensor, "B L"]:
        """What is searched by dot products in the place of the points; see :meth:`inner_queries`."""
        raise NotImplementedError

    def mean(self, points: Float[Tensor, "K D"]) -> Float[Tensor, " D"]:
        """The point that stands for several, as prompt ensembling needs it."""
        raise NotImplementedError
