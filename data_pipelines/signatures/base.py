"""A signature: computed a shard at a time, then compared over all shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from data_pipelines.media import Look


@dataclass(frozen=True)
class Pair:
    """Two rows that count as the same, by place in the line of all rows."""

    first: int
    second: int
    how: str  # "3 bits of 64 differ"


class Signature:
    """Base of every signature."""

    Config: ClassVar[type]

    def __init__(self, config: Any) -> None:
        self.config = config

    def reads(self) -> tuple[str, ...]:
        """Columns of which a set must have at least one."""
        raise NotImplementedError

    def inputs(self) -> dict[str, str]:
        """Digests of what else the signature depends on: a model's weights, say."""
        return {}

    def probe(self, look: Look) -> None:
        """Decode what will be signed; it is kept for :meth:`sign`.

        Raises:
            SkipSample: it does not decode.
        """
        for column in self.reads():
            if look.has(column):
                _ = {"image": lambda: look.image, "audio": lambda: look.sound, "text": lambda: look.captions}[column]()

    def sign(self, looks: Sequence[Look]) -> np.ndarray:
        """Signatures of a shard's rows, shape (rows, ...); a row without one is marked as :meth:`pairs` expects."""
        raise NotImplementedError

    def pairs(self, signatures: Sequence[np.ndarray]) -> Iterator[Pair]:
        """Pairs over all shards' signatures, put one after another."""
        raise NotImplementedError
