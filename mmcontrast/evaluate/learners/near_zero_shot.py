"""A few-shot classifier that starts at the zero-shot one and may not go far from it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from mmcontrast.evaluate.learners.logistic import Linear

STEPS = 300


def fit_near_zero_shot(
    z: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    class_z: Float[Tensor, "C D"],
    *,
    radius: float,
    logit_scale: float = 100.0,
) -> Linear:
    """Minimise cross-entropy over weights within ``radius`` of each class's prompt embedding, by projected gradient.

    With radius 0 this is the zero-shot classifier, with a large one an unregularised probe.

    Source: Radenovic et al. 2023, arXiv:2301.02280, section 3.3 (initialisation from prompts, projected gradient
    descent); the steps here are accelerated, of size 1 / L, so that there is no rate to tune.
    """
    z, start = z.double(), class_z.double()
    targets = one_hot(labels, len(start)).double()
    # The softmax's Hessian is at most 1/2 of the features', scaled twice by the logit scale.
    largest = torch.linalg.matrix_norm(z, ord=2).square() / len(z)
    size = 1 / (0.5 * logit_scale**2 * largest).clamp_min(1e-12)
    weight, ahead, momentum = start.clone(), start.clone(), 1.0
    for _ in range(STEPS):
        slope = logit_scale * ((logit_scale * z @ ahead.T).softmax(dim=1) - targets).T @ z / len(z)
        moved = ahead - size * slope - start
        length = moved.norm(dim=1, keepdim=True)
        following = start + moved * (radius / length.clamp_min(1e-12)).clamp_max(1.0)
        coming = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / coming * (following - weight)
        weight, momentum = following, coming
    return Linear(logit_scale * weight, torch.zeros(len(start), dtype=torch.float64))
