"""Which text a row is shown with, this time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from mmcontrast.config import Count, Fraction, Positive, config
from mmcontrast.data.transforms.captions import Captions, read_templates


@config
class Keywords:
    """One more caption, made of a row's keywords.

    Source: Wu et al. 2023, LAION-CLAP, arXiv:2211.06687, section 2.2, whose templates are fixed and offline.
    """

    field: str  # JSON field with a list of keywords, or one string with commas between them
    templates: tuple[str, ...] = ("{}",)  # {} is where they go; one is drawn each time; X.json: a file of them
    most: Count = 5  # so many are drawn, in random order
    probability: Fraction = 0.5  # how often they take the place of a caption; a row without captions: always


@config
class TextTransform:
    """Choice among a row's captions.  Evaluation uses the first."""

    choice: Literal["first", "random", "weighted", "concatenate"] = "random"  # weighted: by the fields' weights
    first_probability: Fraction = 0.5  # with random: how often it is the first caption all the same
    join_probability: Fraction = 0.0  # with random: how often two captions are joined by a comma
    fields: dict[str, Positive] = {}  # JSON field of captions -> weight; none: the manifest's text column
    separator: str = " "  # between captions that are concatenated
    names: str | None = None  # JSON file, label -> name: the text column holds labels; package:NAME works
    templates: tuple[str, ...] = ()  # {} is where the text goes; one is drawn each time; X.json: a file of them
    keywords: Keywords | None = None  # one more caption, from keywords
    unknown_words: Fraction = 0.0  # share of words replaced by made-up ones: the tower learns to read around them
    max_bytes: Count | None = None  # longer captions are refused, in UTF-8; null: over data.limits.caption_bytes

    def __post_init__(self) -> None:
        if self.choice == "weighted" and not self.fields:
            raise ValueError("choice: weighted needs fields, a map of JSON field -> weight.")
        if self.fields and self.names is not None:
            raise ValueError("names are for a text column of labels; with fields there is none. Remove one.")


def train_text(captions: Captions, config: TextTransform, make_rng: Callable[[], np.random.Generator]) -> str:
    """Choose this epoch's text.

    Args:
        make_rng: returns the row's generator; where nothing is left to chance, none is made.
    """
    texts = captions.texts
    if not (config.unknown_words or config.templates or captions.keywords):
        if config.choice == "first" or len(texts) == 1:
            return texts[0]
        if config.choice == "concatenate":
            return config.separator.join(texts)
    rng = make_rng()
    keywords = config.keywords if captions.keywords else None
    if keywords is not None and (not texts or rng.random() < keywords.probability):
        caption = keyword_caption(captions.keywords, keywords, rng)
    else:
        caption = _chosen(captions, config, rng)
    if config.templates:
        caption = _drawn(read_templates(config.templates), rng).replace("{}", caption)
    return caption if config.unknown_words == 0 else with_unknown_words(caption, config.unknown_words, rng)


def keyword_caption(words: tuple[str, ...], config: Keywords, rng: np.random.Generator) -> str:
    """Some of the keywords in random order, "a, b and c", in a template."""
    drawn = [words[place] for place in rng.permutation(len(words))[: config.most]]
    listing = " and ".join([", ".join(drawn[:-1]), drawn[-1]] if len(drawn) > 1 else drawn)
    return _drawn(read_templates(config.templates), rng).replace("{}", listing)


def _drawn(templates: tuple[str, ...], rng: np.random.Generator) -> str:
    return templates[int(rng.integers(0, len(templates)))]


def _chosen(captions: Captions, config: TextTransform, rng: np.random.Generator) -> str:
    texts = captions.texts
    if config.choice == "concatenate":
        return config.separator.join(texts)
    if config.choice == "first" or len(texts) == 1:
        return texts[0]
    if config.choice == "weighted":
        assert captions.weights is not None, "captions of fields have weights"
        ends = np.cumsum(captions.weights)
        drawn = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
        return texts[min(drawn, len(texts) - 1)]  # the product may round up to the last end
    first = rng.random() < config.first_probability
    chosen = 0 if first else int(rng.integers(0, len(texts)))
    if rng.random() < config.join_probability:
        other = int(rng.integers(0, len(texts)))
        if other != chosen:
            return f"{texts[chosen]}, {texts[other]}"
    return texts[chosen]


def with_unknown_words(caption: str, share: float, rng: np.random.Generator) -> str:
    """Replace a share of the words by random letters; one word, drawn at random, always stays."""
    words = caption.split()
    replaced = rng.random(len(words)) < share
    if replaced.all():
        replaced[int(rng.integers(0, len(words)))] = False
    made_up = ["".join(chr(97 + letter) for letter in rng.integers(0, 26, size=12)) for _ in words]
    return " ".join(new if gone else word for word, new, gone in zip(words, made_up, replaced, strict=True))
