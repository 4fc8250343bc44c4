"""A top-k autoencoder: a wide code of which few numbers are not zero, and the vector that they stand for.

Letters: L latents of a code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear


@dataclass(frozen=True)
class Coded:
    """Rows and what the autoencoder makes of them."""

    codes: Float[Tensor, "B L"]  # the k largest activations
    rebuilt: Float[Tensor, "B D"]  # from the codes
    looser: Float[Tensor, "B D"]  # from the 4k largest activations
    spare: Float[Tensor, "B D"]  # from the largest activations of dead latents
    rest: Float[Tensor, "B D"]  # what the codes leave over, beside b; without gradient


class SparseAutoencoder(nn.Module):
    """``codes = relu(top_k(W (z - b) + c))`` and back by the same matrix, ``W^T codes + b``."""

    def __init__(self, *, dim: int, latents: int, active: int, spare: int) -> None:
        super().__init__()
        self.active, self.spare = active, spare
        self.encoder = nn.Linear(dim, latents)
        nn.init.zeros_(self.encoder.bias)
        self.center = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Float[Tensor, "B D"], dead: Bool[Tensor, " L"]) -> Coded:
        """Encode, and decode in three ways.

        Args:
            dead: latents that have not been among the largest for long.
        """
        weight, center = self.encoder.weight.float(), self.center.float()
        activations = linear(z.float() - center, weight, self.encoder.bias.float())
        codes = largest(activations, self.active)
        rebuilt = codes @ weight + center
        return Coded(
            codes,
            rebuilt,
            largest(activations, 4 * self.active) @ weight + center,
            largest(activations.masked_fill(~dead, 0.0), self.spare) @ weight + center,
            (z.float() - rebuilt + center).detach(),
        )


def largest(activations: Float[Tensor, "B L"], count: int) -> Float[Tensor, "B L"]:
    """Keep the largest positive numbers of each row, at most ``count``; the others become zeros."""
    kept = activations.topk(min(count, activations.shape[1]), dim=1)
    return torch.zeros_like(activations).scatter(1, kept.indices, kept.values.relu())
