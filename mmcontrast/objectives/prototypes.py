"""Learned unit vectors that embeddings are scored against, and the equal-sized assignment of rows to them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize


class Prototypes(nn.Module):
    """``scores(z) = z C^T`` with the rows of C at length 1."""

    def __init__(self, *, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(normalize(torch.randn(count, dim), dim=1))

    def forward(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Cosine similarities to the prototypes."""
        return z.float() @ normalize(self.weight.float(), dim=1).T


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "N K"], *, epsilon: float, iterations: int) -> Float[Tensor, "N K"]:
    """Soft assignment of rows to prototypes in which prototypes get equal mass; each row sums to 1.

    Source: Caron et al. 2020, arXiv:2006.09882 and its appendix; Cuturi 2013, arXiv:1306.0895.
    """
    if not len(scores):
        return scores
    mass = ((scores - scores.max()) / epsilon).double().exp()
    mass = mass / mass.sum()
    for _ in range(iterations):
        mass = mass / mass.sum(dim=0, keepdim=True).clamp_min(1e-300) / mass.shape[1]
        mass = mass / mass.sum(dim=1, keepdim=True).clamp_min(1e-300) / mass.shape[0]
    return (mass / mass.sum(dim=1, keepdim=True).clamp_min(1e-300)).to(scores.dtype)
