"""Two layers with a shortcut around the second, as MS-CLAP projects."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from mmcontrast.config import config
from mmcontrast.heads import HEADS


@HEADS.register("residual")
class Residual(nn.Module):
    """``norm(y + dropout(linear2(gelu(y))))`` with ``y = linear1(x)``; both layers without bias.

    Source: Elizalde et al. 2022, arXiv:2206.04769, section 2, with the layers of its published code (msclap 1.3.4).
    """

    @config
    class Config:
        """Fields of the head."""

        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5  # of the second layer, in training

    def __init__(self, config: Any, *, width: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.linear1 = nn.Linear(width, dim, bias=False)
        self.linear2 = nn.Linear(dim, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, pooled: Float[Tensor, "B width"]) -> Float[Tensor, "B D"]:
        """Project (B, width) to (B, D)."""
        first = self.linear1(pooled)
        return self.layer_norm(first + self.drop(self.linear2(gelu(first))))
