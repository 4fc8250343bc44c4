"""One matrix, CLIP's projection."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.heads import HEADS


@HEADS.register("linear")
class Linear(nn.Module):
    """Features times one matrix."""

    @config
    class Config:
        """Fields of the head."""

        bias: bool = False

    def __init__(self, config: Any, *, width: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(width, dim, bias=config.bias)
        nn.init.normal_(self.layer.weight, std=width**-0.5)

    def forward(self, pooled: Float[Tensor, "B width"]) -> Float[Tensor, "B D"]:
        """Project (B, width) to (B, D)."""
        return self.layer(pooled)
