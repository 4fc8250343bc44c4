"""Which caption of a row is used, this time."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmcontrast.config import Fraction, config
from mmcontrast.errors import SkipSample


@config
class TextTransform:
    """Choice among a row's captions.  Evaluation uses the first."""

    choice: Literal["first", "random"] = "random"
    first_probability: Fraction = 0.5  # with random: how often it is the first caption all the same
    join_probability: Fraction = 0.0  # how often two captions are joined by a comma
    max_bytes: int = 8192  # longer captions are refused


def captions_of(value: object, *, key: str, max_bytes: int = 8192) -> list[str]:
    """Return a row's captions from a string or a list of strings.

    Raises:
        SkipSample: none, not text, empty, or too long.
    """
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise SkipSample(f"{key}: captions are not a string or a list of strings")
    captions = [caption.strip() for caption in captions if caption.strip()]
    if not captions:
        raise SkipSample(f"{key}: no caption that is not empty")
    if max(len(caption.encode()) for caption in captions) > max_bytes:
        raise SkipSample(f"{key}: a caption is longer than {max_bytes} bytes")
    return captions


def train_text(captions: list[str], config: TextTransform, rng: np.random.Generator) -> str:
    """Choose this epoch's caption."""
    if config.choice == "first" or len(captions) == 1:
        return captions[0]
    first = rng.random() < config.first_probability
    chosen = 0 if first else int(rng.integers(0, len(captions)))
    if rng.random() < config.join_probability:
        other = int(rng.integers(0, len(captions)))
        if other != chosen:
            return f"{captions[chosen]}, {captions[other]}"
    return captions[chosen]
