"""CAT's C: captions that say something of their objects."""

from __future__ import annotations

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from data_pipelines.relations import relations
from mmcontrast.config import Count, config


@FILTERS.register("complexity")
class Complexity(Filter):
    """Keep captions in which some object has at least so many relations and attributes.

    Source: Radenovic et al. 2023, arXiv:2301.02280, section 3.1 (C1: at least one).  Theirs reads a scene graph off a
    dependency parse; ours reads it off parts of speech (data_pipelines/relations.py), in English.
    """

    scope = "caption"
    reads = ("text",)
    unit = "relations of the richest object"

    @config
    class Config:
        """Limit."""

        least: Count = 1

    def measure_caption(self, caption: str) -> Value:
        """Relations and attributes of the object that has most."""
        return float(relations(caption).most)

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Too plain."""
        assert isinstance(value, float)
        return "caption says too little" if value < self.config.least else None
