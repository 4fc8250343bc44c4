"""Other sounds under a sound, so many decibels below it."""

from __future__ import annotations

import numpy as np

from mmcontrast.config import Fraction, config


@config
class Background:
    """A random stretch of another set's sounds, under a row's own."""

    manifest: str  # folder of the set, or package:NAME; a random row is drawn each time, its captions are not read
    probability: Fraction = 0.5  # how often a row gets one
    snr_db: tuple[float, float] = (5.0, 30.0)  # lowest and highest mean power of the sound over that of its background

    def __post_init__(self) -> None:
        check_range("snr_db", self.snr_db)


def with_background(
    wave: np.ndarray, noise: np.ndarray, config: Background, *, rng: np.random.Generator
) -> np.ndarray:
    """Add a random stretch of ``noise``, repeated if it is shorter, at a random ratio of mean powers.

    A silent sound, and one whose background is silent, stays as it is.
    """
    ratio_db = rng.uniform(*config.snr_db)
    start = int(rng.integers(0, max(1, len(noise) - len(wave) + 1)))
    noise = np.resize(noise[start:], len(wave))
    return wave + level_for(wave, noise, ratio_db=ratio_db) * noise


def level_for(wave: np.ndarray, other: np.ndarray, *, ratio_db: float) -> float:
    """Factor of ``other`` that puts its mean power ``ratio_db`` below that of ``wave``; 0 where either is silent."""
    power, beside = (float(np.square(each, dtype=np.float64).sum()) / max(1, len(each)) for each in (wave, other))
    return (power / beside / 10 ** (ratio_db / 10)) ** 0.5 if power > 0 and beside > 0 else 0.0


def check_range(name: str, pair: tuple[float, float]) -> None:
    """Refuse a range whose ends are the wrong way round.

    Raises:
        ValueError: they are.
    """
    if pair[0] > pair[1]:
        raise ValueError(f"{name} must be (low, high) with low <= high, got {list(pair)}.")
