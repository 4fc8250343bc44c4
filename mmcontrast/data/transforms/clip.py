"""Sounds that are not as long as a tower's window: filled when shorter; one window, several, or four spectrograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmcontrast.front_ends.fusion import four_mels
from mmcontrast.specs import AudioSpec, Short

PADDING = -0.0


def filled(wave: np.ndarray, *, samples: int, short: Short) -> np.ndarray:
    """A sound of at least ``samples``, in the way that ``short`` names; a longer one stays as it is.

    Zeros are negative ones: by them a front end can tell padding from silence.

    Relations: ``data_filling`` of LAION-CLAP and ``padding`` of transformers' ClapFeatureExtractor, whose
    ``repeatpad`` is ``repeat_pad``.
    """
    missing = samples - len(wave)
    if missing <= 0:
        return wave
    if len(wave) == 0 or short == "pad":
        return np.pad(wave, (0, missing), constant_values=PADDING)
    if short == "repeat":
        return np.resize(wave, samples)
    whole = np.tile(wave, samples // len(wave))
    return np.pad(whole, (0, samples - len(whole)), constant_values=PADDING)


def windows(wave: np.ndarray, spec: AudioSpec) -> list[np.ndarray]:
    """What inference hears of a sound: mono float32 windows of (samples,), always the same ones.

    One, at the start or in the middle; or as many as cover the sound, neighbours sharing ``overlap`` of a window, the
    last one ending with the sound.  More than ``most_windows`` are thinned out evenly; where ``fewest_windows`` are
    more, they overlap further.
    """
    length, samples = spec.length, spec.samples
    wave = filled(wave, samples=samples, short=length.short).astype(np.float32, copy=False)
    spare = len(wave) - samples
    if length.long == "start" or spare == 0:
        return [wave[:samples]]
    if length.long == "center":
        return [wave[spare // 2 : spare // 2 + samples]]
    step = max(1, round((1 - length.overlap) * samples))
    count = max(length.fewest_windows, min(length.most_windows, -(-spare // step) + 1))
    starts = [spare // 2] if count == 1 else [place * spare // (count - 1) for place in range(count)]
    return [wave[start : start + samples] for start in starts]


def heard(wave: np.ndarray, spec: AudioSpec) -> list[Any]:
    """The cells of a tower's column that inference makes of a sound: windows, or one set of four spectrograms."""
    if spec.fusion is None:
        return list(windows(wave, spec))
    whole = filled(wave, samples=spec.samples, short=spec.length.short)
    return [four_mels(whole, spec.fusion, samples=spec.samples)]
