"""Two layers with a nonlinearity, as LAION-CLAP and SimCLR project."""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import Count, config
from mmcontrast.heads import HEADS


@HEADS.register("mlp")
class MLP(nn.Module):
    """Linear, activation, Linear."""

    @config
    class Config:
        """Fields of the head."""

        hidden: Count | None = None  # width between the layers; null: the embedding's
        activation: Literal["relu", "gelu"] = "relu"  # LAION-CLAP uses relu

    def __init__(self, config: Any, *, width: int, dim: int) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden or dim
        activation = nn.ReLU() if config.activation == "relu" else nn.GELU()
        self.layers = nn.Sequential(nn.Linear(width, hidden), activation, nn.Linear(hidden, dim))

    def forward(self, pooled: Float[Tensor, "B width"]) -> Float[Tensor, "B D"]:
        """Project (B, width) to (B, D)."""
        return self.layers(pooled)
