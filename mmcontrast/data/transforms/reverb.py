"""A room around a sound: convolution with an impulse response, measured or made up."""

from __future__ import annotations

import math

import numpy as np

from mmcontrast.config import Fraction, Positive, config
from mmcontrast.data.transforms.background import check_range

DECAY = math.log(1000)  # a fall by 60 dB, of amplitudes, in units of e


@config
class Reverb:
    """Convolution with a random impulse response; the sound keeps its place, length and mean power.

    Source: of the made-up ones, noise that decays exponentially: Moorer 1979, "About this reverberation business".
    """

    probability: Fraction = 0.5  # how often a row gets a room
    manifest: str | None = None  # set of measured impulse responses, as sounds; null: they are made up
    decay_seconds: tuple[Positive, Positive] = (0.1, 0.6)  # of a made-up room: time until 60 dB less
    direct_db: tuple[float, float] = (0.0, 15.0)  # of a made-up room: energy that comes straight over the room's

    def __post_init__(self) -> None:
        check_range("decay_seconds", self.decay_seconds)
        check_range("direct_db", self.direct_db)


def made_up_room(config: Reverb, *, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of shape (samples,): the straight sound at place 0, then noise that decays."""
    seconds, direct_db = rng.uniform(*config.decay_seconds), rng.uniform(*config.direct_db)
    time = np.arange(max(2, round(seconds * sample_rate_hz))) / sample_rate_hz
    room = rng.standard_normal(len(time)) * np.exp(-DECAY / seconds * time)
    room[0] = 0.0
    room *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(np.square(room)))
    room[0] = 1.0
    return room


def with_reverb(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve; the response's loudest place is where the sound stays.  A silent response changes nothing."""
    if not np.any(response) or not np.any(wave):
        return wave
    length = len(wave) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)
    first = int(np.argmax(np.abs(response)))
    heard = heard[first : first + len(wave)]
    power = np.sum(np.square(heard))
    return heard * np.sqrt(np.sum(np.square(wave, dtype=np.float64)) / power) if power > 0 else wave
