"""What every front end offers.

Letters: F frequencies, N samples around a clip, L samples of a frame.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

BLOCK_FRAMES = 1024  # whose spectra are made at a time


class FrontEnd(nn.Module):
    """Waveforms -> spectrograms of mel bands, without a weight that is learned, in float32.

    A subclass has a nested ``Config`` with ``sample_rate_hz``, ``hop_samples``, ``mels`` and ``frames(samples)``.
    Its parts, :meth:`prepared`, :meth:`energies`, :meth:`finished` and :meth:`emptied`, are what exports are made of.
    """

    Config: ClassVar[Any]  # fields of the front end; each subclass has its own

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B M frames"]:
        """Compute spectrograms; frames = config.frames(samples)."""
        with torch.autocast(wave.device.type, enabled=False):
            wave = wave.float()
            return self.emptied(self.scaled(self.bands(self.prepared(wave))), wave)

    def prepared(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B N"]:
        """What is done to the whole clip before it is cut into frames, its borders included."""
        raise NotImplementedError

    def energies(self, prepared: Float[Tensor, "B N"]) -> Float[Tensor, "B F frames"]:
        """Squared magnitude of every frequency of every frame."""
        raise NotImplementedError

    def finished(self, energies: Float[Tensor, "B F frames"]) -> Float[Tensor, "B M frames"]:
        """Mel bands, logarithm and scaling."""
        return self.scaled(self.filtered(energies))

    def filtered(self, energies: Float[Tensor, "B F frames"]) -> Float[Tensor, "B M frames"]:
        """Mel bands of frames, each by itself."""
        raise NotImplementedError

    def scaled(self, bands: Float[Tensor, "B M frames"]) -> Float[Tensor, "B M frames"]:
        """Logarithm and scaling of whole clips' bands."""
        raise NotImplementedError

    def bands(self, prepared: Float[Tensor, "B N"]) -> Float[Tensor, "B M frames"]:
        """Mel bands; on a CPU by blocks whose spectra stay in its caches, which takes half of the time."""
        if prepared.device.type != "cpu" or torch.compiler.is_compiling():
            return self.filtered(self.energies(prepared))
        hop, span = self.config.hop_samples, self.frame_samples
        frames = 1 + (prepared.shape[1] - span) // hop
        parts = []
        for rows in prepared.split(max(1, BLOCK_FRAMES // max(1, frames))):
            blocks = [rows[:, first * hop :] for first in range(0, max(1, frames), BLOCK_FRAMES)]
            blocks = [block[:, : (BLOCK_FRAMES - 1) * hop + span] for block in blocks]
            made = [self.filtered(self.energies(block)) for block in blocks]
            parts.append(made[0] if len(made) == 1 else torch.cat(made, dim=2))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @property
    def frame_samples(self) -> int:
        """Samples of :meth:`prepared` that one frame reads."""
        raise NotImplementedError

    def emptied(
        self, bands: Float[Tensor, "B M frames"], wave: Float[Tensor, "B samples"]
    ) -> Float[Tensor, "B M frames"]:
        """What :meth:`finished` gave, with frames of padding as missing ones where a front end tells them apart."""
        return bands

    def frame_rows(self) -> Float[Tensor, "2F L"]:
        """Rows whose products with a frame are the real parts, then the imaginary parts, of its frequencies."""
        raise NotImplementedError

    @property
    def unread(self) -> tuple[int, int]:
        """Samples at both ends of :meth:`prepared` that lie outside of every frame of :meth:`frame_rows`."""
        return 0, 0


def squared(spectrum: Tensor) -> Tensor:
    """|.|^2 without a square root, in two passes over strided halves: a tenth of the time of summing pairs."""
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def heard_samples(wave: Float[Tensor, "B samples"]) -> Int[Tensor, " B"]:
    """How many samples lie before the padding, which is negative zeros; no decoder ends a sound with those."""
    real = (wave != 0) | (wave.reciprocal() > 0)
    return (real * torch.arange(1, wave.shape[1] + 1, device=wave.device)).amax(dim=1)


def fourier_rows(fft_samples: int, length: int, *, first: int = 0) -> Float[Tensor, "2F L"]:
    """Cosines, then negative sines, of every frequency over ``length`` places from ``first`` on, in float64."""
    angle_step = 2 * torch.pi / fft_samples
    with torch.device("cpu"):
        place = torch.arange(length, dtype=torch.float64) + first
        frequency = torch.arange(fft_samples // 2 + 1, dtype=torch.float64)
        angle = angle_step * ((frequency[:, None] * place) % fft_samples)
        return torch.cat([angle.cos(), -angle.sin()])
