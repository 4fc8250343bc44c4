"""Sounds by length."""

from __future__ import annotations

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value, outside
from data_pipelines.media import Look
from mmcontrast.config import NonNegative, config


@FILTERS.register("duration")
class Duration(Filter):
    """Keep sounds of so many seconds."""

    reads = ("audio",)
    unit = "seconds"

    @config
    class Config:
        """Limits."""

        min_seconds: NonNegative | None = 0.3
        max_seconds: NonNegative | None = None

    def measure(self, look: Look) -> Value | None:
        """Decoded seconds, not what the header promises."""
        return look.sound.seconds if look.has("audio") else None

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Too short or too long."""
        assert isinstance(value, float)
        least, most = self.config.min_seconds, self.config.max_seconds
        return outside(value, least=least, most=most, low="audio too short", high="audio too long")
