"""CAT's T: pictures that are not just a photograph of their caption."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from data_pipelines.media import Look
from mmcontrast.config import Count, Fraction, config
from mmcontrast.errors import MissingPackage


@FILTERS.register("text_spotting")
class TextSpotting(Filter):
    """Drop rows whose picture shows a run of letters that a caption holds, as a text recogniser reads it.

    Source: Radenovic et al. 2023, arXiv:2301.02280, section 3.1: five characters that match, over a confidence of 0.8.
    Theirs reads the picture in three orientations with another recogniser; ours is RapidOCR (PaddleOCR's models, which
    its wheel carries), upright.
    """

    reads = ("image", "text")
    unit = "longest run of letters in both picture and caption"

    @config
    class Config:
        """Limits."""

        characters: Count = 5  # a run of this many letters drops the row
        confidence: Fraction = 0.8  # of the recogniser, below which a line is ignored

    def measure(self, look: Look) -> Value | None:
        """Letters of the longest run that the picture and a caption share."""
        if not look.has("image") or not look.has("text"):
            return None
        spotted = read_text(look.image, confidence=self.config.confidence)
        runs = [longest_common(_plain(line), _plain(text)) for line in spotted for text in look.captions]
        return float(max(runs, default=0))

    def reason(self, value: Value, settled: float | None) -> str | None:
        """The caption is written in the picture."""
        assert isinstance(value, float)
        return "picture shows its caption" if value >= self.config.characters else None


@lru_cache(maxsize=1)
def _reader() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise MissingPackage(
            "filter 'text_spotting' needs a text recogniser: pip install rapidocr-onnxruntime."
        ) from error
    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def read_text(image: Any, *, confidence: float) -> list[str]:
    """Lines of text in a picture."""
    found, _ = _reader()(np.asarray(image)[:, :, ::-1])
    return [str(text) for _, text, sure in found or [] if float(sure) >= confidence]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def longest_common(first: str, second: str) -> int:
    """Length of the longest common substring."""
    best, before = 0, [0] * (len(second) + 1)
    for letter in first:
        row = [0] * (len(second) + 1)
        for place, other in enumerate(second, start=1):
            if letter == other:
                row[place] = before[place - 1] + 1
                best = max(best, row[place])
        before = row
    return best
