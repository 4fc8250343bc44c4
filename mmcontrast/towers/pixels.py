"""What towers of pictures with published weights begin with: bytes to the values that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mmcontrast.towers.base import Tower


class PixelTower(Tower):
    """A tower that brings each channel to a mean and a deviation."""

    mean: Float[Tensor, "3 1 1"]
    std: Float[Tensor, "3 1 1"]

    def keep_channels(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep mean and deviation of each channel, of pixels in [0, 1]."""
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def preprocessing(self) -> dict[str, Any]:
        """Mean and deviation of each channel, of pixels in [0, 1]."""
        return {"mean": (self.mean / 255).flatten().tolist(), "std": (self.std / 255).flatten().tolist()}

    def pixels(self, values: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """What the model reads of uint8 pictures."""
        return normalised(values, self.mean, self.std)


def normalised(
    values: UInt8[Tensor, "B 3 H W"], mean: Float[Tensor, "3 1 1"], std: Float[Tensor, "3 1 1"]
) -> Float[Tensor, "B 3 H W"]:
    """Pixels less their mean, over their deviation, both of 255; laid out colour by colour.

    The loader's batches lie pixel by pixel in memory, which some models cannot take a view of.  Laying out and
    converting are one pass, and the rest is done in place.
    """
    copied = values.to(mean.dtype, memory_format=torch.contiguous_format, copy=True)
    return copied.sub_(mean).div_(std)
