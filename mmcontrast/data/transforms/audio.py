"""Mono waveforms to a tower's length, with rooms, other sounds and changes of level, place and speed in training."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mmcontrast.config import Fraction, NonNegative, config
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.background import Background, with_background
from mmcontrast.data.transforms.clip import filled
from mmcontrast.data.transforms.other_sounds import check_sounds, draw_sound
from mmcontrast.data.transforms.reverb import Reverb, made_up_room, with_reverb
from mmcontrast.front_ends.fusion import drawn_starts, four_mels
from mmcontrast.specs import AudioSpec, Short


@config
class AudioTransform:
    """Random changes of a waveform.  Evaluation has none: there the tower's ``length`` says what is heard."""

    gain_db: NonNegative = 0.0  # largest change of level to either side, in decibels
    shift: Fraction = 0.0  # largest delay as a share of the window; what is pushed out at the end is lost
    speed: Fraction = 0.0  # largest relative change of speed (and pitch) to either side
    tilt: Fraction = 0.0  # largest weight, to either side, of the sample before: tilts the spectrum up or down
    noise_db: float | None = None  # loudest white noise, in dB relative to full scale; null: none
    crop: Literal["random", "start", "center"] = "random"  # which window of a long clip is used
    short: Short | None = None  # what fills a clip shorter than the window; null: as the tower's length.short
    reverb: Reverb | None = None  # a room around the sound, before other sounds join it
    background: Background | None = None  # sounds of another set under it


def train_audio(
    wave: np.ndarray,
    config: AudioTransform,
    spec: AudioSpec,
    *,
    rng: np.random.Generator,
    limits: Limits | None = None,
) -> Any:
    """Return a random view of a mono waveform: float32 (spec.samples,), or the four spectrograms of spec.fusion.

    Raises:
        ShardError: the set of backgrounds or rooms does not decode.
    """
    samples = spec.samples
    if config.speed:
        factor = 1 + rng.uniform(-config.speed, config.speed)
        positions = np.arange(0, len(wave) - 1, factor)
        wave = np.interp(positions, np.arange(len(wave)), wave)
    wave = filled(wave, samples=samples, short=config.short or spec.length.short)
    if config.shift and rng.random() < 0.5:
        wave = np.concatenate([np.zeros(int(rng.uniform(0, config.shift) * samples)), wave])
    if spec.fusion is None:
        wave = _cropped(wave, config, samples=samples, rng=rng)
    if config.reverb is not None and rng.random() < config.reverb.probability:
        rate_hz, location = spec.sample_rate_hz, config.reverb.manifest
        if location is None:
            room = made_up_room(config.reverb, sample_rate_hz=rate_hz, rng=rng)
        else:
            room = draw_sound(location, rng, sample_rate_hz=rate_hz, limits=limits)
        wave = with_reverb(wave, room)
    if config.tilt:
        weight = rng.uniform(-config.tilt, config.tilt)
        wave = (wave + weight * np.concatenate([[0.0], wave[:-1]])) / (1 + abs(weight))
    if config.background is not None and rng.random() < config.background.probability:
        other = draw_sound(config.background.manifest, rng, sample_rate_hz=spec.sample_rate_hz, limits=limits)
        wave = with_background(wave, other, config.background, rng=rng)
    if config.gain_db:
        wave = wave * 10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20)
    if config.noise_db is not None:
        level = 10 ** (rng.uniform(config.noise_db - 30, config.noise_db) / 20)
        wave = wave + level * rng.standard_normal(len(wave))
    wave = wave.astype(np.float32, copy=False)
    if spec.fusion is None:
        return wave
    return four_mels(wave, spec.fusion, samples=samples, starts=drawn_starts(samples, len(wave), spec.fusion, rng=rng))


def _cropped(wave: np.ndarray, config: AudioTransform, *, samples: int, rng: np.random.Generator) -> np.ndarray:
    start, spare = 0, len(wave) - samples
    if spare > 0 and config.crop == "random" and not config.shift:
        start = int(rng.integers(0, spare + 1))
    elif spare > 0 and config.crop == "center":
        start = spare // 2
    return wave[start : start + samples]


def check_audio(where: str, config: AudioTransform) -> list[str]:
    """What is wrong with the sets that a transform draws from, as messages."""
    problems = []
    if config.background is not None:
        problems += check_sounds(f"{where}.background.manifest", config.background.manifest)
    if config.reverb is not None:
        problems += check_sounds(f"{where}.reverb.manifest", config.reverb.manifest)
    return problems
