"""The log-mel front end without complex numbers: the Fourier transform as a convolution with sines and cosines.

Letters: F frequencies, N samples of a window.
"""

from __future__ import annotations

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from mmcontrast.towers.log_mel import LogMel


class ConvolvedLogMel(nn.Module):
    """What :class:`LogMel` computes, from operations that every runtime has and runs quickly.

    Relations: equal to LogMel up to float32's rounding.
    """

    def __init__(self, mel: LogMel) -> None:
        super().__init__()
        self.config = mel.config
        assert isinstance(mel.filters, Tensor)
        self.register_buffer("filters", mel.filters.T.contiguous())  # (M, F)
        self.register_buffer("waves", fourier_rows(self.config.fft_samples, self.config.window_samples))

    def forward(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B M frames"]:
        """Return normalised decibels; frames = samples // hop + 1."""
        config = self.config
        assert isinstance(self.filters, Tensor) and isinstance(self.waves, Tensor)
        half = config.fft_samples // 2
        padded = pad(wave.float()[:, None], (half, half), mode="reflect")
        # A window shorter than the transform stands in its middle, and only its samples count.
        unread = (config.fft_samples - config.window_samples) // 2
        frames = wave.shape[1] // config.hop_samples + 1
        padded = padded[:, :, unread : unread + (frames - 1) * config.hop_samples + config.window_samples]
        parts = conv1d(padded, self.waves, stride=config.hop_samples)  # (B, 2F, frames)
        real, imaginary = parts.chunk(2, dim=1)
        energy = real * real + imaginary * imaginary
        if config.power != 2.0:
            energy = energy.pow(config.power / 2)
        decibels = 10 / math.log(10) * (self.filters @ energy).clamp_min(config.floor).log()
        return (decibels - config.mean_db) / config.deviation_db


def fourier_rows(fft_samples: int, window_samples: int) -> Float[Tensor, "2F 1 N"]:
    """Cosines, then sines, of every frequency under a Hann window, made in float64."""
    unread = (fft_samples - window_samples) // 2
    place = torch.arange(window_samples, dtype=torch.float64) + unread
    frequency = torch.arange(fft_samples // 2 + 1, dtype=torch.float64)
    angle = 2 * math.pi * ((frequency[:, None] * place) % fft_samples) / fft_samples
    window = torch.hann_window(window_samples, dtype=torch.float64)
    return (torch.cat([angle.cos(), -angle.sin()]) * window)[:, None].float()


def without_complex_numbers(module: nn.Module) -> nn.Module:
    """A copy of a module in which every log-mel front end is a convolved one."""
    changed = copy.deepcopy(module)
    for parent in list(changed.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LogMel):
                parent.add_module(name, ConvolvedLogMel(child).eval())
    return changed
