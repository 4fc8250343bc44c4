"""No head: the tower's features are the embedding already."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.heads import HEADS


@HEADS.register("identity")
class Identity(nn.Module):
    """Passes features on; their width must be the embedding's."""

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any, *, width: int, dim: int) -> None:
        super().__init__()
        if width != dim:
            raise ConfigError(f"the identity head needs model.dim = {width}, the tower's width; got {dim}.")
        self.config = config

    def forward(self, pooled: Float[Tensor, "B width"]) -> Float[Tensor, "B D"]:
        """Return the features."""
        return pooled
