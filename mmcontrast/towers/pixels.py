"""Bytes of pictures to what a model was trained on."""

from __future__ import annotations

from jaxtyping import Float, UInt8
from torch import Tensor


def normalised(
    values: UInt8[Tensor, "B 3 H W"], mean: Float[Tensor, "3 1 1"], std: Float[Tensor, "3 1 1"]
) -> Float[Tensor, "B 3 H W"]:
    """Pixels less their mean, over their deviation, both of 255; laid out colour by colour.

    The loader's batches lie pixel by pixel in memory, which some models cannot take a view of.
    """
    return (values.contiguous() - mean).div_(std)
