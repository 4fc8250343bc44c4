"""Pictures by shape."""

from __future__ import annotations

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from data_pipelines.media import Look
from mmcontrast.config import Positive, config


@FILTERS.register("aspect")
class Aspect(Filter):
    """Keep pictures whose longer side is at most so many times the shorter one."""

    reads = ("image",)
    unit = "longer side / shorter side"

    @config
    class Config:
        """Limit."""

        most: Positive = 3.0  # DataComp's baseline, Gadre et al. 2023, arXiv:2304.14108

    def measure(self, look: Look) -> Value | None:
        """Longer side over shorter side."""
        return max(look.image.size) / min(look.image.size) if look.has("image") else None

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Too oblong."""
        assert isinstance(value, float)
        return "image too oblong" if value > self.config.most else None
