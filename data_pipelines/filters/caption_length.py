"""Captions by number of words and characters."""

from __future__ import annotations

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value, outside
from mmcontrast.config import NonNegativeCount, config


@FILTERS.register("caption_length")
class CaptionLength(Filter):
    """Keep captions of so many words (split at spaces) and characters."""

    scope = "caption"
    reads = ("text",)
    unit = "words"

    @config
    class Config:
        """Limits."""

        min_words: NonNegativeCount = 2
        max_words: NonNegativeCount | None = None
        max_characters: NonNegativeCount | None = 2000  # checked first: such a caption counts as too long

    def measure_caption(self, caption: str) -> Value:
        """Words; infinite if there are too many characters."""
        limit = self.config.max_characters
        if limit is not None and len(caption) > limit:
            return float("inf")
        return float(len(caption.split()))

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Too short or too long."""
        assert isinstance(value, float)
        if value == float("inf"):
            return "caption too long"
        config = self.config
        return outside(
            value, least=config.min_words, most=config.max_words, low="caption too short", high="caption too long"
        )
