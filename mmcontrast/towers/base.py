"""What every tower offers."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.types import Features, Values

__all__ = ["AudioSpec", "ImageSpec", "InputSpec", "TextSpec", "Tower"]


class Tower(nn.Module):
    """Inputs of one modality -> :class:`Features`.  Knows no loss, no rank and no other modality.

    A subclass has a nested ``Config`` with ``modality`` (a class attribute) and ``input_spec()``, both usable
    before any weight exists, and sets ``self.width``.
    """

    width: int  # size of Features.pooled

    class Config:
        """Fields of the tower; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, values: Values) -> Features:
        """Encode B rows."""
        raise NotImplementedError
