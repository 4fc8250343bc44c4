"""Mono waveforms to a tower's length, with gain, shift, speed and noise in training."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmcontrast.config import Fraction, NonNegative, config


@config
class AudioTransform:
    """Random changes of a waveform.  Evaluation crops the start and pads, without randomness."""

    gain_db: NonNegative = 0.0  # largest change of level to either side, in decibels
    shift: Fraction = 0.0  # largest delay as a share of the window; what is pushed out at the end is lost
    speed: Fraction = 0.0  # largest relative change of speed (and pitch) to either side
    tilt: Fraction = 0.0  # largest weight, to either side, of the sample before: tilts the spectrum up or down
    noise_db: float | None = None  # loudest white noise, in dB relative to full scale; null: none
    crop: Literal["random", "start"] = "random"  # which window of a long clip is used


def train_audio(wave: np.ndarray, config: AudioTransform, *, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random view of a mono waveform as float32 of shape (samples,)."""
    if config.speed:
        factor = 1 + rng.uniform(-config.speed, config.speed)
        positions = np.arange(0, len(wave) - 1, factor)
        wave = np.interp(positions, np.arange(len(wave)), wave)
    if config.shift and rng.random() < 0.5:
        wave = np.concatenate([np.zeros(int(rng.uniform(0, config.shift) * samples)), wave])
    start = 0
    if len(wave) > samples and config.crop == "random" and not config.shift:
        start = int(rng.integers(0, len(wave) - samples + 1))
    wave = fit(wave[start:], samples=samples)
    if config.tilt:
        weight = rng.uniform(-config.tilt, config.tilt)
        wave = (wave + weight * np.concatenate([[0.0], wave[:-1]])) / (1 + abs(weight))
    if config.gain_db:
        wave = wave * 10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20)
    if config.noise_db is not None:
        level = 10 ** (rng.uniform(config.noise_db - 30, config.noise_db) / 20)
        wave = wave + level * rng.standard_normal(samples)
    return wave.astype(np.float32, copy=False)


def eval_audio(wave: np.ndarray, *, samples: int) -> np.ndarray:
    """Return the first ``samples`` samples, zero-padded, as float32."""
    return fit(wave, samples=samples).astype(np.float32)


def fit(wave: np.ndarray, *, samples: int) -> np.ndarray:
    """Cut or zero-pad at the end."""
    if len(wave) >= samples:
        return wave[:samples]
    return np.pad(wave, (0, samples - len(wave)))
