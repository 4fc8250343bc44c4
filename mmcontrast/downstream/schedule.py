"""The cosine schedule of diffusion, and the deterministic way back from noise.

Letters: B rows, D coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

OFFSET = 0.008  # s, the paper's


def kept_share(time: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    r"""alpha-bar: the share of variance that is not noise at a time from 0 (clean) to 1 (noise).

        alpha-bar(t) = f(t) / f(0),    f(t) = cos^2( (t + s) / (1 + s) pi / 2 ).

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, equation 17.
    """
    angle = (time + OFFSET) / (1 + OFFSET) * math.pi / 2
    return (angle.cos() / math.cos(OFFSET / (1 + OFFSET) * math.pi / 2)).square().clamp(0, 1)


def noised(
    clean: Float[Tensor, "B D"], noise: Float[Tensor, "B D"], time: Float[Tensor, " B"]
) -> Float[Tensor, "B D"]:
    """sqrt(alpha-bar) clean + sqrt(1 - alpha-bar) noise."""
    share = kept_share(time)[:, None]
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def denoised(
    predict: Callable[[Tensor, Tensor], Tensor], start: Float[Tensor, "B D"], *, steps: int
) -> Float[Tensor, "B D"]:
    """DDIM without added noise: from noise at time 1 to a clean point in equal steps of time.

    Args:
        predict: (points (B, D), times (B,)) -> the clean points that they come from.

    Source: Song et al. 2020, arXiv:2010.02502, equation 12 with sigma = 0.
    """
    points = start
    times = torch.linspace(1, 0, steps + 1)
    for now, following in zip(times[:-1], times[1:], strict=True):
        clean = predict(points, now.expand(len(points)))
        share, coming = kept_share(now), kept_share(following)
        noise = (points - share.sqrt() * clean) / (1 - share).sqrt().clamp_min(1e-6)
        points = coming.sqrt() * clean + (1 - coming).sqrt() * noise
    return points
