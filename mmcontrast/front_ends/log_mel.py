"""Log-mel spectrograms as librosa and torchlibrosa define them, batched, in float32, on the tower's device.

Letters: F frequencies, N samples around a clip, L samples of a window.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.base import FrontEnd, fourier_rows, squared
from mmcontrast.front_ends.mel_filters import Scale, mel_filters

DECIBELS = 10 / math.log(10)  # of one unit of the natural logarithm
INT16 = 32767.0


@config
class LogMelConfig:
    """Every parameter of the front end."""

    sample_rate_hz: Count = 16_000
    fft_samples: Count = 1024
    window_samples: Count = 640
    hop_samples: Count = 320
    mels: Count = 64
    low_hz: NonNegative = 50.0
    high_hz: Positive = 8_000.0
    scale: Scale = "slaney"  # which formula turns hertz into mels
    norm: Literal["slaney", "none"] = "slaney"  # slaney: each filter has unit area; none: each reaches 1
    filter_rate_hz: Count | None = None  # sampling rate that the filters are made for; null: sample_rate_hz
    power: Positive = 2.0  # 2: energies, 1: magnitudes
    floor: Positive = 1e-10  # smallest value before the logarithm
    reference: Positive = 1.0  # value of 0 dB
    range_db: Positive | None = None  # what is further below a clip's loudest value is raised to there; null: nothing
    mean_db: float = -30.0  # subtracted after the logarithm
    deviation_db: Positive = 20.0  # divided by, after the mean
    border: Literal["reflect", "zeros", "none"] = "reflect"  # half a transform around a clip; none: frames lie inside
    drop_last: bool = False  # leave out the last frame, as Whisper does
    int16: bool = False  # clip to +-1 and cut to 16 bits first, as LAION-CLAP does with files and arrays

    def __post_init__(self) -> None:
        rate = self.filter_rate_hz or self.sample_rate_hz
        if self.high_hz > rate / 2:
            name = "sample_rate_hz" if self.filter_rate_hz is None else "filter_rate_hz"
            raise ValueError(f"high_hz {self.high_hz:g} is over half of {name} {rate}.")
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz:g} is not below high_hz {self.high_hz:g}.")
        if self.window_samples > self.fft_samples:
            raise ValueError("window_samples must not exceed fft_samples.")

    def frames(self, samples: int) -> int:
        """Frames of a clip of so many samples."""
        around = 0 if self.border == "none" else self.fft_samples // 2 * 2
        return 1 + (samples + around - self.fft_samples) // self.hop_samples - self.drop_last


@FRONT_ENDS.register("log_mel")
class LogMel(FrontEnd):
    """Hann-windowed STFT; mel filters; decibels; a fixed affine map.

    Relations: librosa's ``power_to_db(melspectrogram(...), ref=reference, amin=floor, top_db=range_db)`` before the
    affine map, where a clip's own loudest value is meant by ``range_db``; torchlibrosa's ``LogmelFilterBank``.
    """

    Config = LogMelConfig

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__(config)
        filters = mel_filters(
            fft_samples=config.fft_samples,
            rate_hz=config.filter_rate_hz or config.sample_rate_hz,
            mels=config.mels,
            low_hz=config.low_hz,
            high_hz=config.high_hz,
            scale=config.scale,
            unit_area=config.norm == "slaney",
        )
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)  # (all frequencies, M)
        step_hz = (config.filter_rate_hz or config.sample_rate_hz) / config.fft_samples
        self.read = min(filters.shape[1], int(config.high_hz / step_hz) + 1)  # frequencies that filters read
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)

    def prepared(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B N"]:
        """16 bits if asked for, and the border."""
        config = self.config
        if config.int16:
            wave = wave.clamp(-1, 1).mul_(INT16).trunc_().div_(INT16)
        half = config.fft_samples // 2
        if config.border == "none":
            return wave
        return pad(wave[:, None], (half, half), mode="reflect" if config.border == "reflect" else "constant")[:, 0]

    def energies(self, prepared: Float[Tensor, "B N"]) -> Float[Tensor, "B F frames"]:
        """Squared magnitudes of a short-time Fourier transform, without frequencies that no filter reads."""
        config = self.config
        assert isinstance(self.window, Tensor)
        spectrum = torch.stft(
            prepared,
            config.fft_samples,
            hop_length=config.hop_samples,
            win_length=config.window_samples,
            window=self.window,
            center=False,
            return_complex=True,
        )
        return squared(spectrum[:, : self.read])

    def filtered(self, energies: Float[Tensor, "B F frames"]) -> Float[Tensor, "B M frames"]:
        """Mel bands."""
        assert isinstance(self.filters, Tensor)
        if self.config.power != 2.0:
            energies = energies.pow(self.config.power / 2)
        return self.filters[: self.read].T @ energies

    def scaled(self, bands: Float[Tensor, "B M frames"]) -> Float[Tensor, "B M frames"]:
        """Decibels of mel bands."""
        config = self.config
        if config.drop_last:
            bands = bands[:, :, :-1]
        decibels = DECIBELS * bands.clamp_min(config.floor).log()
        if config.range_db is not None:
            decibels = torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - config.range_db)
        zero = 10 * math.log10(max(config.reference, config.floor)) + config.mean_db
        return (decibels - zero) / config.deviation_db

    @property
    def frame_samples(self) -> int:
        """A transform's, whatever the window in its middle."""
        return int(self.config.fft_samples)

    def frame_rows(self) -> Float[Tensor, "2F L"]:
        """Waves under the window."""
        window = torch.hann_window(self.config.window_samples, dtype=torch.float64, device="cpu")
        rows = fourier_rows(self.config.fft_samples, self.config.window_samples, first=self.unread[0])
        real, imaginary = rows.chunk(2)
        return (torch.cat([real[: self.read], imaginary[: self.read]]) * window).float()

    @property
    def unread(self) -> tuple[int, int]:
        """A window shorter than the transform stands in its middle, and only its samples count."""
        both = self.config.fft_samples - self.config.window_samples
        return both // 2, both - both // 2
