"""The window of a long sound that a row uses this time, read without decoding the rest."""

from __future__ import annotations

import io

import numpy as np

from mmcontrast.data.decode import check_rate
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.audio import AudioTransform
from mmcontrast.errors import SkipSample
from mmcontrast.specs import AudioSpec

SEEKABLE = ("WAV", "FLAC", "AIFF")  # with integer samples: seeking is exact, and no sample can be NaN


def random_window(
    content: bytes,
    config: AudioTransform,
    spec: AudioSpec,
    *,
    rng: np.random.Generator,
    limits: Limits | None = None,
) -> np.ndarray | None:
    """Return the samples that :func:`train_audio` would crop from the whole sound, mono float32 (samples,).

    None where the whole sound is needed: it is not longer than the window, of another rate, compressed with loss,
    damaged, over a limit, or changed (shift, speed) before it is cropped.
    """
    import soundfile

    limits = limits or Limits()
    # Integer samples reach full scale at most: only a limit below it needs all of them.
    if config.shift or config.speed or limits.audio_amplitude < 1:
        return None
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            integers = sound.format in SEEKABLE and sound.subtype.startswith("PCM_")
            total = min(sound.frames, round(limits.audio_seconds * sound.samplerate))
            check_rate("sound", sound.samplerate, sound.channels, limits)
            if not integers or sound.samplerate != spec.sample_rate_hz or total <= spec.samples:
                return None
            if config.crop == "random":
                sound.seek(int(rng.integers(0, total - spec.samples + 1)))
            wave = sound.read(spec.samples, dtype="float32", always_2d=True).mean(axis=1)
    # Whatever is wrong with it, the decoder of whole sounds says it.
    except (SkipSample, soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, MemoryError):
        return None
    return wave if len(wave) == spec.samples else None
