"""One matrix and one learned factor, which starts small."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.heads import HEADS


@HEADS.register("scaled_linear")
class ScaledLinear(nn.Module):
    """Features times one matrix, times a learned factor of at most 1 that starts at D ** -0.5.

    Vectors then start with a length of about 1, which hyperbolic geometry needs.

    Source: Desai et al. 2023 (MERU), arXiv:2304.09172, section 3.2.
    """

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any, *, width: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(width, dim, bias=False)
        nn.init.normal_(self.layer.weight, std=width**-0.5)
        self.log_factor = nn.Parameter(torch.tensor([-0.5 * math.log(dim)]))

    def forward(self, pooled: Float[Tensor, "B width"]) -> Float[Tensor, "B D"]:
        """Project (B, width) to (B, D)."""
        return self.log_factor.clamp(max=0.0).exp() * self.layer(pooled)
