"""Hyperbolic space with a learned curvature: what is general lies near the origin, what is specific far out."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast import lorentz
from mmcontrast.config import Positive, config
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.base import Geometry

RANGE = (0.1, 10.0)  # of the curvature, MERU's


class Curvature(nn.Module):
    """A learned positive number, kept within :data:`RANGE`; space is curved by minus as much."""

    def __init__(self, start: float, *, learned: bool) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([math.log(start)]), requires_grad=learned)

    def forward(self) -> Float[Tensor, 1]:
        """Return c."""
        return self.log.float().clamp(math.log(RANGE[0]), math.log(RANGE[1])).exp()


@GEOMETRIES.register("lorentz", "hyperbolic")
class Lorentz(Geometry):
    """Points of a hyperboloid, by their space components; compared by minus their geodesic distance.

    Heads give tangent vectors at the origin.  Those of ``scaled_linear`` start short, as the exponential map needs it.

    Source: Desai et al. 2023 (MERU), arXiv:2304.09172, section 3.
    """

    curved: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the geometry."""

        curvature: Positive = 1.0  # where it starts
        learn_curvature: bool = True

        def __post_init__(self) -> None:
            if not RANGE[0] <= self.curvature <= RANGE[1]:
                raise ValueError(f"curvature must lie between {RANGE[0]} and {RANGE[1]}, got {self.curvature}.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.curve = Curvature(config.curvature, learned=config.learn_curvature)

    def curvature(self) -> Float[Tensor, 1]:
        """Minus the curvature of the space."""
        c: Tensor = self.curve()
        return c

    def project(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Follow tangent vectors at the origin; an all-zero row is the origin."""
        return lorentz.exponential_map(vectors.float(), self.curvature())

    def similarity(self, a: Float[Tensor, "A D"], b: Float[Tensor, "B D"]) -> Float[Tensor, "A B"]:
        """Minus the distance."""
        a, b, c = a.float(), b.float(), self.curvature().to(a.device)
        return -lorentz.distances(a @ b.T - lorentz.times(a, c)[:, None] * lorentz.times(b, c)[None, :], c)

    def inner_queries(self, points: Float[Tensor, "A D"]) -> Float[Tensor, "A D+1"]:
        """Space beside minus time: a distance falls as the Lorentzian inner product rises."""
        space = points.float()
        return torch.cat([space, -lorentz.times(space, self.curvature().to(space.device))[:, None]], dim=-1)

    def inner_keys(self, points: Float[Tensor, "B D"]) -> Float[Tensor, "B D+1"]:
        """Space beside time."""
        space = points.float()
        return torch.cat([space, lorentz.times(space, self.curvature().to(space.device))[:, None]], dim=-1)

    def mean(self, points: Float[Tensor, "K D"]) -> Float[Tensor, " D"]:
        """The point of the mean tangent vector, as MERU averages prompts."""
        c = self.curvature().to(points.device)
        tangent = lorentz.logarithmic_map(points.float(), c).mean(dim=0, keepdim=True)
        return lorentz.exponential_map(tangent, c)[0]
