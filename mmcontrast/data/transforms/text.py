"""Which caption of a row is used, this time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from mmcontrast.config import Count, Fraction, config
from mmcontrast.errors import SkipSample


@config
class TextTransform:
    """Choice among a row's captions.  Evaluation uses the first."""

    choice: Literal["first", "random"] = "random"
    first_probability: Fraction = 0.5  # with random: how often it is the first caption all the same
    join_probability: Fraction = 0.0  # how often two captions are joined by a comma
    unknown_words: Fraction = 0.0  # share of words replaced by made-up ones: the tower learns to read around them
    max_bytes: Count | None = None  # longer captions are refused, in UTF-8; null: over data.limits.caption_bytes


def captions_of(value: object, *, key: str, max_bytes: int) -> list[str]:
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


def train_text(captions: list[str], config: TextTransform, make_rng: Callable[[], np.random.Generator]) -> str:
    """Choose this epoch's caption.

    Args:
        make_rng: returns the row's generator; where nothing is left to chance, none is made.
    """
    if config.unknown_words == 0 and (config.choice == "first" or len(captions) == 1):
        return captions[0]
    rng = make_rng()
    caption = _chosen(captions, config, rng)
    return caption if config.unknown_words == 0 else with_unknown_words(caption, config.unknown_words, rng)


def _chosen(captions: list[str], config: TextTransform, rng: np.random.Generator) -> str:
    if config.choice == "first" or len(captions) == 1:
        return captions[0]
    first = rng.random() < config.first_probability
    chosen = 0 if first else int(rng.integers(0, len(captions)))
    if rng.random() < config.join_probability:
        other = int(rng.integers(0, len(captions)))
        if other != chosen:
            return f"{captions[chosen]}, {captions[other]}"
    return captions[chosen]


def with_unknown_words(caption: str, share: float, rng: np.random.Generator) -> str:
    """Replace a share of the words by random letters; one word, drawn at random, always stays."""
    words = caption.split()
    replaced = rng.random(len(words)) < share
    if replaced.all():
        replaced[int(rng.integers(0, len(words)))] = False
    made_up = ["".join(chr(97 + letter) for letter in rng.integers(0, 26, size=12)) for _ in words]
    return " ".join(new if gone else word for word, new, gone in zip(words, made_up, replaced, strict=True))
