"""What every tower offers, and what it asks of the loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from mmcontrast.types import Features, Values


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The loader brings uint8 pictures of shape (B, 3, size, size); towers normalise them themselves."""

    size: int  # pixels


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """The loader brings float32 waveforms in [-1, 1] of shape (B, seconds * sample_rate_hz), mono."""

    sample_rate_hz: int
    seconds: float

    @property
    def samples(self) -> int:
        """Waveform length."""
        return round(self.seconds * self.sample_rate_hz)


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """The loader brings int64 token ids of shape (B, T), T at most ``context_length``, trimmed to the longest."""

    tokenizer: Any  # a tokenizer's Config, see mmcontrast.data.tokenizers
    context_length: int


InputSpec = ImageSpec | AudioSpec | TextSpec


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
