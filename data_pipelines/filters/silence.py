"""Sounds by the share of their time that is silent."""

from __future__ import annotations

import numpy as np

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from data_pipelines.media import Look, Sound
from mmcontrast.config import Fraction, Positive, config


@FILTERS.register("silence")
class Silence(Filter):
    """Keep sounds of which at most a share is silent: 20 ms frames whose RMS is under a level."""

    reads = ("audio",)
    unit = "share of silent frames"

    @config
    class Config:
        """Limits."""

        level_db: float = -60.0  # RMS of a frame, against full scale
        most: Fraction = 0.9  # share of silent frames
        frame_seconds: Positive = 0.02

    def measure(self, look: Look) -> Value | None:
        """Share of silent frames."""
        if not look.has("audio"):
            return None
        return silent_share(look.sound, level_db=self.config.level_db, frame_seconds=self.config.frame_seconds)

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Too silent."""
        assert isinstance(value, float)
        return "audio mostly silent" if value > self.config.most else None


def silent_share(sound: Sound, *, level_db: float, frame_seconds: float) -> float:
    """Share of whole frames under the level; a sound shorter than a frame is one frame."""
    samples = min(max(1, round(frame_seconds * sound.rate_hz)), len(sound.wave))
    frames = sound.wave[: len(sound.wave) // samples * samples].reshape(-1, samples).astype(np.float64)
    power = np.mean(np.square(frames), axis=1)
    return float(np.mean(power < 10 ** (level_db / 10)))
