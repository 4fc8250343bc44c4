"""Triangular filters over frequencies.

Letters: F frequencies.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

Scale = Literal["slaney", "htk"]

LINEAR_HZ = 200 / 3  # width of a mel below the break, Slaney's scale
BREAK_HZ = 1000.0
LOG_STEP = np.log(6.4) / 27  # of a mel above it
KALDI_MEL = 1127.0  # HTK's scale in natural logarithms


def to_mel(hertz: np.ndarray, scale: Scale) -> np.ndarray:
    """Pitch of frequencies.

    Source: slaney: Slaney 1998, Auditory Toolbox version 2; htk: Young et al. 2002, the HTK book, equation 5.13.
    """
    if scale == "htk":
        return 2595.0 * np.log10(1 + hertz / 700.0)
    above = BREAK_HZ / LINEAR_HZ + np.log(np.maximum(hertz, BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return np.where(hertz < BREAK_HZ, hertz / LINEAR_HZ, above)


def to_hertz(mel: np.ndarray, scale: Scale) -> np.ndarray:
    """Frequencies of pitches."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1)
    break_mel = BREAK_HZ / LINEAR_HZ
    return np.where(mel < break_mel, mel * LINEAR_HZ, BREAK_HZ * np.exp(LOG_STEP * (mel - break_mel)))


def mel_filters(
    *,
    fft_samples: int,
    rate_hz: int,
    mels: int,
    low_hz: float,
    high_hz: float,
    scale: Scale = "slaney",
    unit_area: bool = True,
) -> Float[Tensor, "M F"]:
    """Triangles that are straight lines over hertz; float64 up to the end, as rounding in the scale costs 1e-4 dB.

    Args:
        unit_area: divide each by half of its width in hertz; else each reaches 1.
    """
    frequency = np.arange(fft_samples // 2 + 1) * (rate_hz / fft_samples)
    ends = to_mel(np.array([low_hz, high_hz]), scale)
    edges = to_hertz(np.linspace(ends[0], ends[1], mels + 2), scale)
    filters = _triangles(frequency, edges)
    if unit_area:
        filters *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(filters).float()


def kaldi_filters(*, fft_samples: int, rate_hz: int, mels: int, low_hz: float, high_hz: float) -> Float[Tensor, "M F"]:
    """Triangles that are straight lines over HTK's mels, without half the sampling rate.

    In float32 from the first step on, as Kaldi and torchaudio make them: models have been trained with that rounding,
    which is 3e-4 dB.

    Source: Povey et al. 2011, the Kaldi toolkit, feat/mel-computations.cc.
    """
    with torch.device("cpu"):
        pitch = KALDI_MEL * (1 + torch.arange(fft_samples // 2) * (rate_hz / fft_samples) / 700.0).log()
        low, high = (KALDI_MEL * math.log(1 + hertz / 700.0) for hertz in (low_hz, high_hz))
        step = (high - low) / (mels + 1)
        left, top, right = (low + (torch.arange(mels)[:, None] + place) * step for place in (0.0, 1.0, 2.0))
        rising, falling = (pitch - left) / (top - left), (right - pitch) / (right - top)
        return pad(torch.minimum(rising, falling).clamp_min(0), (0, 1))


def _triangles(place: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Filter m rises from edge m to edge m + 1 and falls to edge m + 2: (M, F)."""
    low, top, high = (edges[first : len(edges) - 2 + first, None] for first in range(3))
    return np.maximum(0, np.minimum((place - low) / (top - low), (high - place) / (high - top)))
