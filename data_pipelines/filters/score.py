"""Pairs by how alike a trained model finds their two sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipelines.encoder import EncoderConfig, embed, encoder_inputs
from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from data_pipelines.media import Look
from mmcontrast.config import Fraction, config
from mmcontrast.errors import ConfigError


@FILTERS.register("score")
class Score(Filter):
    """Keep rows whose two columns have a cosine over a limit, or the best share of the set.

    Source: Schuhmann et al. 2022, LAION-5B, arXiv:2210.08402 (a limit); Gadre et al. 2023, DataComp, arXiv:2304.14108
    (the best 30%).
    """

    unit = "cosine"

    @config
    class Config:
        """Model, pair and limit."""

        model: EncoderConfig  # a trained run
        pair: tuple[str, str] = ("image", "text")  # columns; the first caption is used
        least: float | None = None  # cosine
        best: Fraction | None = None  # share of the rows that have both columns

        def __post_init__(self) -> None:
            if (self.least is None) == (self.best is None):
                raise ValueError("give either least (a cosine) or best (a share of the rows)")

    def inputs(self) -> dict[str, str]:
        """Digest of the weights."""
        for column in self.config.pair:
            if column not in self.manifest.columns:
                raise ConfigError(f"filter 'score': '{self.manifest.name}' has no column '{column}'.")
        return encoder_inputs(self.config.model)

    def measure_many(self, looks: Sequence[Look]) -> list[Value | None]:
        """Cosines; None where a side is missing."""
        first, second = (embed(looks, column, self.config.model) for column in self.config.pair)
        return [None if np.isnan(value) else float(value) for value in (first * second).sum(axis=1)]

    def settle(self, values: list[float]) -> float | None:
        """The cosine that the best share reaches."""
        if self.config.best is None or not values:
            return None
        return float(np.quantile(np.asarray(values), 1 - self.config.best))

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Under the limit."""
        assert isinstance(value, float)
        limit = self.config.least if settled is None else settled
        return "sides too unlike" if limit is not None and value < limit else None
