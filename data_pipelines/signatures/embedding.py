"""Rows that a model sees as the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.encoder import EncoderConfig, embed, encoder_inputs
from data_pipelines.media import Look
from data_pipelines.near import cosine_pairs
from data_pipelines.signatures import SIGNATURES
from data_pipelines.signatures.base import Pair, Signature
from mmcontrast.config import Fraction, config


@SIGNATURES.register("embedding")
class Embedding(Signature):
    """Rows whose embeddings by a trained model have a cosine of at least ``least``.

    Source: Abbas et al. 2023, "SemDeDup", arXiv:2303.09540; here over all pairs, not within clusters.
    """

    @config
    class Config:
        """Model and limit."""

        model: EncoderConfig  # a trained run
        column: str = "image"  # image, audio or text
        least: Fraction = 0.95  # cosine

    def reads(self) -> tuple[str, ...]:
        """The column that is embedded."""
        return (self.config.column,)

    def inputs(self) -> dict[str, str]:
        """Digest of the weights."""
        return encoder_inputs(self.config.model)

    def probe(self, look: Look) -> None:
        """What does not decode gets NaN, and stays."""

    def sign(self, looks: Sequence[Look]) -> np.ndarray:
        """Embeddings, NaN where the row has none."""
        return embed(looks, self.config.column, self.config.model)

    def pairs(self, signatures: Sequence[np.ndarray]) -> Iterator[Pair]:
        """Every pair over the limit."""
        for first, second, score in cosine_pairs(np.concatenate(signatures), self.config.least):
            yield Pair(first, second, f"cosine {score:.3f}")
