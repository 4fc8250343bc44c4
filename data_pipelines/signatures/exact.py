"""The same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.media import Look
from data_pipelines.near import equal_groups
from data_pipelines.signatures import SIGNATURES
from data_pipelines.signatures.base import Pair, Signature
from mmcontrast.config import config


@SIGNATURES.register("exact")
class Exact(Signature):
    """Rows whose columns hold the same bytes; captions compare as strings, lower-case, without outer spaces."""

    @config
    class Config:
        """What is compared."""

        columns: tuple[str, ...] = ("image", "audio")  # all that a row has must be equal

    def reads(self) -> tuple[str, ...]:
        """The columns named."""
        return tuple(self.config.columns)

    def probe(self, look: Look) -> None:
        """Bytes need no decoding; captions are read."""
        self._digest(look)

    def sign(self, looks: Sequence[Look]) -> np.ndarray:
        """First 16 bytes of a sha256, as hex; empty where the row has none of the columns."""
        return np.array([self._digest(look) for look in looks], dtype="U32")

    def _digest(self, look: Look) -> str:
        present = [column for column in self.config.columns if look.has(column)]
        if not present:
            return ""
        digest = hashlib.sha256()
        for column in present:
            if look.columns[column].modality == "text":
                content = "\n".join(text.lower() for text in look.texts(column)).encode("utf-8")
            else:
                content = look.content(column)
            digest.update(f"{column} {len(content)}\n".encode() + content)
        return digest.hexdigest()[:32]

    def pairs(self, signatures: Sequence[np.ndarray]) -> Iterator[Pair]:
        """The first row of each group with every other one."""
        values = [value or None for part in signatures for value in part.tolist()]
        for group in equal_groups(values):
            for second in group[1:]:
                yield Pair(group[0], second, "same bytes")
