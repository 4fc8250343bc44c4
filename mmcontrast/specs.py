"""What a tower asks of the loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The loader brings uint8 pictures of shape (B, 3, size, size); towers normalise them themselves."""

    size: int  # pixels


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """The loader brings float32 waveforms in [-1, 1] of shape (B, seconds * sample_rate_hz), mono."""

    sample_rate_hz: int
    seconds: float
    fusion: Any = None  # config of the four spectrograms that come instead (mmcontrast.front_ends.fusion); none

    @property
    def samples(self) -> int:
        """Waveform length."""
        return round(self.seconds * self.sample_rate_hz)


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """The loader brings int64 token ids of shape (B, T), T at most ``context_length``, trimmed to the longest."""

    tokenizer: Any  # a tokenizer's Config
    context_length: int


InputSpec = ImageSpec | AudioSpec | TextSpec
