"""The window of a long sound that a row uses this time, read without decoding the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmcontrast.data.decode import BLOCK_SAMPLES, check_rate, check_samples, resample
from mmcontrast.data.decode_flac import flac_header
from mmcontrast.data.decode_soundfile import is_integer, mono
from mmcontrast.data.limits import Limits
from mmcontrast.data.sound_bytes import SoundBytes
from mmcontrast.data.transforms.audio import AudioTransform
from mmcontrast.errors import SkipSample
from mmcontrast.specs import AudioSpec

if TYPE_CHECKING:
    import soundfile

MARGIN_SAMPLES = 1024  # at the lower of both rates, read to either side of a window that is resampled
SEEKABLE = ("WAV", "FLAC", "AIFF")  # with integer samples: seeking is exact, and no sample can be NaN
LENGTH_KNOWN = ("MP3", "OPUS")  # what lies before the window changes what a decoder makes of it
Way = Literal["seek", "through"]


def random_window(
    content: bytes,
    config: AudioTransform,
    spec: AudioSpec,
    *,
    rng: np.random.Generator,
    limits: Limits | None = None,
) -> np.ndarray | None:
    """Return the samples that :func:`train_audio` would crop from the whole sound, mono float32 (samples,).

    Bit for bit at the tower's rate (of MP3 to float32's last bit); at another rate up to what the resampling filter
    hears from further than ``MARGIN_SAMPLES`` away.  None where the whole sound is needed: it is not longer than the
    window, of a container that does not say how long it is, damaged, over a limit, changed (shift, speed) before it
    is cropped, or heard whole (fusion).
    """
    import soundfile

    limits = limits or Limits()
    # Integer samples reach full scale at most: only a limit below it needs all of them.
    if config.shift or config.speed or spec.fusion is not None or limits.audio_amplitude < 1:
        return None
    header = flac_header(content)
    if header is not None and _planned(header.frames, header.rate_hz, spec, limits).samples <= spec.samples:
        return None
    try:
        with soundfile.SoundFile(SoundBytes(content)) as sound:
            way = way_to(sound)
            check_rate("sound", sound.samplerate, sound.channels, limits)
            plan = _planned(sound.frames, sound.samplerate, spec, limits)
            if way is None or plan.samples <= spec.samples:
                return None
            spare = plan.samples - spec.samples
            start = {"start": 0, "center": spare // 2}.get(config.crop, -1)
            if start < 0:
                start = int(rng.integers(0, spare + 1))
            first, last = plan.frames(start, start + spec.samples)
            if way == "seek":
                sound.seek(first)
            else:
                _pass_over(sound, first)
            block = sound.read(last - first, dtype="float32", always_2d=True)
            if len(block) < last - first:
                return None
            if not is_integer(sound.subtype):
                check_samples("sound", block, limits)
            wave = mono(block)
            wave = plan.cut(wave, first, start, spec.samples)
    # Whatever is wrong with it, the decoder of whole sounds says it.
    except (SkipSample, soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, MemoryError):
        return None
    return wave if len(wave) == spec.samples else None


def _planned(frames: int, rate_hz: int, spec: AudioSpec, limits: Limits) -> _Window:
    total = min(frames, round(limits.audio_seconds * rate_hz))
    return _Window(total=total, from_hz=rate_hz, to_hz=spec.sample_rate_hz)


def way_to(sound: soundfile.SoundFile) -> Way | None:
    """How a window is reached with the very samples that decoding all of the sound gives.

    Ogg Vorbis is sought like integer samples.  MP3 and Opus are decoded up to the window's end.  Others (floats, and
    what FFmpeg reads, whose length is an estimate): None.
    """
    if sound.format in SEEKABLE and is_integer(sound.subtype):
        return "seek"
    if sound.subtype == "VORBIS":
        return "seek"
    return "through" if sound.format in LENGTH_KNOWN or sound.subtype in LENGTH_KNOWN else None


def _pass_over(sound: soundfile.SoundFile, frames: int) -> None:
    """Decode and drop; less where the sound ends before."""
    most = max(1, BLOCK_SAMPLES // sound.channels)
    while frames > 0:
        got = len(sound.read(min(most, frames), dtype="float32"))
        if got == 0:
            return
        frames -= got


@dataclass(frozen=True, kw_only=True)
class _Window:
    """Which frames of a sound give which samples at another rate."""

    total: int  # frames of the sound
    from_hz: int
    to_hz: int

    @property
    def blocks(self) -> tuple[int, int]:
        """(frames, samples) of the shortest stretch that is whole at both rates."""
        divisor = math.gcd(self.from_hz, self.to_hz)
        return self.from_hz // divisor, self.to_hz // divisor

    @property
    def samples(self) -> int:
        """Length of the whole sound at the wanted rate."""
        return round(self.total * self.to_hz / self.from_hz)

    def frames(self, start: int, end: int) -> tuple[int, int]:
        """First and last frame to read for these samples; the first lies on a block's border."""
        if self.from_hz == self.to_hz:
            return start, end
        frames, samples = self.blocks
        margin = math.ceil(MARGIN_SAMPLES * max(1.0, self.from_hz / self.to_hz) / frames)
        first = max(0, start // samples - margin) * frames
        return first, min(self.total, (math.ceil(end / samples) + margin) * frames)

    def cut(self, wave: np.ndarray, first: int, start: int, samples: int) -> np.ndarray:
        """Resample what was read from frame ``first`` on, and cut the window out."""
        if self.from_hz == self.to_hz:
            return wave
        from_sample = start - first // self.blocks[0] * self.blocks[1]
        return resample(wave, from_hz=self.from_hz, to_hz=self.to_hz)[from_sample : from_sample + samples]
