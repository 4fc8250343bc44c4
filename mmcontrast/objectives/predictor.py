"""The small network between an online embedding and the target it predicts."""

from __future__ import annotations

from torch import Tensor, nn


class Predictor(nn.Module):
    """Linear, layer norm, ReLU, Linear, in float32.

    BYOL and SimSiam use batch norm here; a row must not depend on the others of its batch, so this is layer norm.
    """

    def __init__(self, *, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, z: Tensor) -> Tensor:
        """Predict (B, D) from (B, D)."""
        return self.layers(z.float())
