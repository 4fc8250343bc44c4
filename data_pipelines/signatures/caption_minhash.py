"""Captions that are nearly the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.media import Look
from data_pipelines.near import minhash_pairs
from data_pipelines.signatures import SIGNATURES
from data_pipelines.signatures.base import Pair, Signature
from mmcontrast.config import Count, Fraction, config
from mmcontrast.errors import MissingPackage


@SIGNATURES.register("caption_minhash")
class CaptionMinHash(Signature):
    """Rows whose first captions share most of their character n-grams.

    Two pictures may rightly share a caption: use it where one text for many rows is noise, as in web data.

    Source: Broder 1997, "On the resemblance and containment of documents"; datasketch's implementation.
    """

    @config
    class Config:
        """How alike."""

        least: Fraction = 0.8  # Jaccard similarity
        shingle: Count = 4  # characters of an n-gram
        permutations: Count = 128  # of MinHash
        min_characters: Count = 12  # shorter captions are not compared

    def reads(self) -> tuple[str, ...]:
        """The one column."""
        return ("text",)

    def sign(self, looks: Sequence[Look]) -> np.ndarray:
        """The first caption, lower-case, letters and digits alone."""
        texts = []
        for look in looks:
            listed = look.captions if look.has("text") else []
            plain = " ".join(re.findall(r"\w+", listed[0].lower())) if listed else ""
            texts.append(plain if len(plain) >= self.config.min_characters else "")
        return np.array(texts, dtype=np.str_) if texts else np.zeros(0, dtype="U1")

    def pairs(self, signatures: Sequence[np.ndarray]) -> Iterator[Pair]:
        """Pairs by MinHash, each compared exactly."""
        size = self.config.shingle
        sets = [
            {text[place : place + size] for place in range(len(text) - size + 1)}
            for part in signatures
            for text in part.tolist()
        ]
        try:
            for first, second, similarity in minhash_pairs(
                sets, least=self.config.least, permutations=self.config.permutations, seed=1
            ):
                yield Pair(first, second, f"captions {100 * similarity:.0f}% alike")
        except ImportError as error:
            raise MissingPackage(
                "signature 'caption_minhash' needs datasketch: pip install 'mmcontrast[pipelines]'."
            ) from error
