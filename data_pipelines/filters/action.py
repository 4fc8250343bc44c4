"""CAT's A: captions in which something happens."""

from __future__ import annotations

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from data_pipelines.relations import relations
from mmcontrast.config import Count, config


@FILTERS.register("action")
class Action(Filter):
    """Keep captions with at least so many actions: verbs after an object, without auxiliaries.

    Source: Radenovic et al. 2023, arXiv:2301.02280, section 3.1; parts of speech instead of a dependency parse.
    """

    scope = "caption"
    reads = ("text",)
    unit = "actions"

    @config
    class Config:
        """Limit."""

        least: Count = 1

    def measure_caption(self, caption: str) -> Value:
        """Number of actions."""
        return float(relations(caption).actions)

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Nothing happens."""
        assert isinstance(value, float)
        return "caption without an action" if value < self.config.least else None
