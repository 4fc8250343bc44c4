"""Tokens that stand for the squares of a picture."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import ConfigError


def square_side(tokens: Float[Tensor, "B T width"], *, who: str, column: str, instead: str = "") -> int:
    """Squares along a side of the grid that a row's tokens make.

    Args:
        who: reads them.
        instead: what else to do.

    Raises:
        ConfigError: they are no square grid.
    """
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        said = f"{who}: the tower of '{column}' returns {tokens.shape[1]} tokens, which are no square grid. {instead}"
        raise ConfigError(said.rstrip())
    return side
