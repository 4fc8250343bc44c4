"""The Lorentz model of hyperbolic space, as plain functions of the space components of points.

A point of curvature -c is (time, space) with time = sqrt(1 / c + |space|^2); only the space components are stored.
Letters: A and B points, D space components; c has shape (1,).

Source: Desai et al. 2023 (MERU), arXiv:2304.09172, section 3.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-8
LONGEST = math.asinh(2.0**15)  # of sqrt(c) |v|: sinh of more is too long for float32


def times(points: Float[Tensor, "B D"], c: Float[Tensor, 1]) -> Float[Tensor, " B"]:
    """Time components of points."""
    return torch.sqrt(1 / c + points.square().sum(dim=-1))


def distances(inner: Float[Tensor, "*shape"], c: Float[Tensor, 1]) -> Float[Tensor, "*shape"]:
    """Geodesic distances from Lorentzian inner products <x, y> - time(x) time(y)."""
    return torch.acosh(torch.clamp(-c * inner, min=1 + EPSILON)) / torch.sqrt(c)


def exponential_map(vectors: Float[Tensor, "B D"], c: Float[Tensor, 1]) -> Float[Tensor, "B D"]:
    """Points that tangent vectors at the origin lead to."""
    length = torch.sqrt(c) * vectors.norm(dim=-1, keepdim=True)
    return torch.sinh(length.clamp(EPSILON, LONGEST)) * vectors / length.clamp_min(EPSILON)


def logarithmic_map(points: Float[Tensor, "B D"], c: Float[Tensor, 1]) -> Float[Tensor, "B D"]:
    """Tangent vectors at the origin that lead to points: the inverse of :func:`exponential_map`."""
    length = torch.sqrt(c) * points.norm(dim=-1, keepdim=True)
    return torch.asinh(length) * points / length.clamp_min(EPSILON)


def half_apertures(points: Float[Tensor, "B D"], c: Float[Tensor, 1], *, nearest: float) -> Float[Tensor, " B"]:
    """Half of the angle of each point's entailment cone.

    Args:
        nearest: constant K; points closer to the origin than it have the widest cone.
    """
    sine = 2 * nearest / (torch.sqrt(c) * points.norm(dim=-1) + EPSILON)
    return torch.asin(sine.clamp(max=1 - 1e-6))


def exterior_angles(
    apexes: Float[Tensor, "B D"], points: Float[Tensor, "B D"], c: Float[Tensor, 1]
) -> Float[Tensor, " B"]:
    """Angle at each apex between its cone's axis and the way to a point."""
    apex_times, point_times = times(apexes, c), times(points, c)
    inner = c * ((apexes * points).sum(dim=-1) - apex_times * point_times)
    across = torch.sqrt((inner.square() - 1).clamp_min(EPSILON))
    cosine = (point_times + inner * apex_times) / (apexes.norm(dim=-1) * across + EPSILON)
    return torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
