"""Pictures by size."""

from __future__ import annotations

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value, outside
from data_pipelines.media import Look
from mmcontrast.config import Count, config


@FILTERS.register("resolution")
class Resolution(Filter):
    """Keep pictures whose shorter side has so many pixels."""

    reads = ("image",)
    unit = "pixels"

    @config
    class Config:
        """Limits."""

        min_side: Count | None = 64  # of the shorter side
        max_side: Count | None = None  # of the shorter side

    def measure(self, look: Look) -> Value | None:
        """The shorter side."""
        return float(min(look.image.size)) if look.has("image") else None

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Too small or too large."""
        assert isinstance(value, float)
        least, most = self.config.min_side, self.config.max_side
        return outside(value, least=least, most=most, low="image too small", high="image too large")
