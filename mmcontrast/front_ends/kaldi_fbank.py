"""Kaldi's filter-bank features, batched: what ImageBind, AST and BEATs read.

Letters: F frequencies, N samples of a clip, L samples of a frame.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mmcontrast.config import Count, Fraction, NonNegative, Positive, config
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.base import FrontEnd, fourier_rows, heard_samples, squared
from mmcontrast.front_ends.mel_filters import kaldi_filters


@config
class KaldiFbankConfig:
    """Every parameter of the front end."""

    sample_rate_hz: Count = 16_000
    window_samples: Count = 400  # 25 ms; the transform's length is the next power of two
    hop_samples: Count = 160
    mels: Count = 128
    low_hz: NonNegative = 20.0
    high_hz: Positive = 8_000.0
    window: Literal["hanning", "povey", "hamming"] = "povey"  # all of them symmetric
    preemphasis: Fraction = 0.97  # share of the sample before that is subtracted, within a frame
    remove_offset: bool = True  # subtract each frame's mean
    centred: bool = False  # subtract the clip's mean first, as ImageBind does
    gain: Positive = 1.0  # of the samples: 32768 where a model was trained on 16-bit integers
    power: Positive = 2.0  # 2: energies, 1: magnitudes
    floor: Positive = 1.1920928955078125e-07  # smallest value before the logarithm; float32's epsilon, as in Kaldi
    fixed_frames: Count | None = None  # cut, or fill with zeros after the logarithm, to so many; null: as they come
    empty_frames: bool = False  # frames that reach past a padded sound's end are zeros after the logarithm, too
    mean: float = 0.0  # subtracted after the (natural) logarithm
    deviation: Positive = 1.0  # divided by, after the mean

    def __post_init__(self) -> None:
        if self.high_hz > self.sample_rate_hz / 2:
            raise ValueError(f"high_hz {self.high_hz:g} is over half of sample_rate_hz {self.sample_rate_hz}.")
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz:g} is not below high_hz {self.high_hz:g}.")

    @property
    def fft_samples(self) -> int:
        """Length of the transform."""
        return 1 << (self.window_samples - 1).bit_length()

    def frames(self, samples: int) -> int:
        """Frames of a clip of so many samples: those that lie inside of it, or the fixed number."""
        return self.fixed_frames or max(0, 1 + (samples - self.window_samples) // self.hop_samples)


@FRONT_ENDS.register("kaldi_fbank")
class KaldiFbank(FrontEnd):
    """Frames without their mean, pre-emphasised and windowed; FFT; filters that are triangles over mels; logarithm.

    Relations: torchaudio's ``compliance.kaldi.fbank`` with ``snip_edges``, without dither and energy.
    Source: Povey et al. 2011, the Kaldi toolkit.
    """

    Config = KaldiFbankConfig

    def __init__(self, config: KaldiFbankConfig) -> None:
        super().__init__(config)
        filters = kaldi_filters(
            fft_samples=config.fft_samples,
            rate_hz=config.sample_rate_hz,
            mels=config.mels,
            low_hz=config.low_hz,
            high_hz=config.high_hz,
        )
        self.register_buffer("filters", filters, persistent=False)  # (M, F)
        self.register_buffer("shape", _window(config).float(), persistent=False)

    def prepared(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B N"]:
        """The clip's mean and level."""
        if self.config.centred:
            samples = heard_samples(wave).clamp_min(1) if self.config.empty_frames else wave.shape[1]
            wave = wave - (wave.sum(dim=1) / samples)[:, None]
        return wave if self.config.gain == 1 else wave * self.config.gain

    def energies(self, prepared: Float[Tensor, "B N"]) -> Float[Tensor, "B F frames"]:
        """Squared magnitudes of each frame's transform."""
        config = self.config
        assert isinstance(self.shape, Tensor)
        frames = prepared.unfold(1, config.window_samples, config.hop_samples)  # (B, frames, L)
        if config.remove_offset:
            frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
        frames = (frames - config.preemphasis * before) * self.shape
        return squared(torch.fft.rfft(frames, config.fft_samples)).transpose(1, 2)

    def filtered(self, energies: Float[Tensor, "B F frames"]) -> Float[Tensor, "B M frames"]:
        """Mel bands."""
        assert isinstance(self.filters, Tensor)
        return self.filters @ (energies if self.config.power == 2.0 else energies.pow(self.config.power / 2))

    def scaled(self, bands: Float[Tensor, "B M frames"]) -> Float[Tensor, "B M frames"]:
        """Logarithms of mel bands, cut or filled to the fixed number of frames."""
        config = self.config
        bands = bands.clamp_min(config.floor).log()
        if config.fixed_frames is not None:
            bands = pad(bands, (0, config.fixed_frames - bands.shape[2]))  # a negative number cuts
        return (bands - config.mean) / config.deviation

    @property
    def frame_samples(self) -> int:
        """A frame's own; zeros that the transform is filled with are no samples."""
        return int(self.config.window_samples)

    def emptied(
        self, bands: Float[Tensor, "B M frames"], wave: Float[Tensor, "B samples"]
    ) -> Float[Tensor, "B M frames"]:
        """Frames that are not whole before the padding, as those that are missing."""
        config = self.config
        if not config.empty_frames:
            return bands
        past = heard_samples(wave) - config.window_samples
        whole = torch.div(past, config.hop_samples, rounding_mode="floor") + 1  # at most 0 where not one frame is
        empty = torch.arange(bands.shape[2], device=bands.device) >= whole[:, None]  # (B, frames)
        return torch.where(empty[:, None], torch.full_like(bands, -config.mean / config.deviation), bands)

    def frame_rows(self) -> Float[Tensor, "2F L"]:
        """Offset, pre-emphasis, window and transform are linear: one matrix."""
        config, length = self.config, self.config.window_samples
        with torch.device("cpu"):
            steps = torch.eye(length, dtype=torch.float64)
            if config.remove_offset:
                steps = steps - 1 / length
            steps = steps - config.preemphasis * torch.cat([steps[:1], steps[:-1]])
            return (fourier_rows(config.fft_samples, length) @ (_window(config)[:, None] * steps)).float()


def _window(config: KaldiFbankConfig) -> Float[Tensor, " L"]:
    place = torch.arange(config.window_samples, dtype=torch.float64, device="cpu") / (config.window_samples - 1)
    cosine = (2 * torch.pi * place).cos()
    if config.window == "hamming":
        return 0.54 - 0.46 * cosine
    hanning = 0.5 - 0.5 * cosine
    return hanning.clamp_min(0).pow(0.85) if config.window == "povey" else hanning
