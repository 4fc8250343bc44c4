"""The caption made wrong while it is loaded: words exchanged or replaced, denied, or events in another order."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal, cast

import numpy as np
from annotated_types import Len

from mmcontrast.config import Positive, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original
from mmcontrast.language.edits import contrasted
from mmcontrast.language.events import reordered
from mmcontrast.language.negation import negated
from mmcontrast.language.order import perturbed
from mmcontrast.language.swaps import SWAPS, SwapKind, swapped
from mmcontrast.language.taggers.base import Tagger, build_tagger
from mmcontrast.language.words import Word

Way = Literal[
    "noun", "adjective", "verb", "adverb", "relation", "attribute", "opposite", "negation", "events", "words"
]


@DERIVATIONS.register("negative_caption")
class NegativeCaption(Derivation):
    """One of several ways to make the caption wrong, drawn by weight among those that have a hold on it; else none.

    ``noun``, ``adjective``, ``verb`` and ``adverb`` exchange two words of one part of speech; ``relation`` the things
    on both sides of one.  ``attribute`` and ``opposite`` replace an attribute or a relation by another of its kind.
    ``negation`` denies; ``events`` changes the order in time; ``words`` shuffles nouns and adjectives, else groups of
    words.  No result is a caption of the row.

    Relations: probes of the kinds ``swap``, ``attribute``, ``edit``, ``negation`` and ``order`` ask for the same
    changes; keep their captions out of training.
    Source: Yuksekgonul et al. 2023, NegCLIP, arXiv:2210.01936, section 4, on the fly and with more ways.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)
    together: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "text"  # column whose caption it is
        # Way -> how often it is tried first; NegCLIP's are noun, adjective, verb and adverb.
        ways: Annotated[dict[Way, Positive], Len(1)] = {
            "noun": 1.0,
            "adjective": 1.0,
            "verb": 1.0,
            "adverb": 1.0,
            "relation": 1.0,
            "attribute": 1.0,
            "opposite": 1.0,
        }
        tagger: str = "light"  # what tells parts of speech: 'mmcontrast list taggers'

    @cached_property
    def _tagger(self) -> Tagger:
        return build_tagger(self.config.tagger)

    def check(self) -> None:
        """Load the tagger."""
        assert self._tagger.identity

    def derive(self, original: Original, make_rng: MakeGenerator) -> str | None:
        """Try the ways in an order drawn by their weights."""
        caption, rng = str(original.value), make_rng()
        words = self._tagger.tag(caption)
        ways, weights = list(self.config.ways), list(self.config.ways.values())
        right = {text.lower() for text in (original.captions.texts if original.captions else ())} | {caption.lower()}
        while ways:
            place = _place(weights, rng.random())
            way, _ = ways.pop(place), weights.pop(place)
            made = _made(way, caption, words, rng)
            if made is not None and made.lower() not in right:
                return made
        return None


def _place(weights: list[float], drawn: float) -> int:
    """Place of a weight, drawn as often as it weighs; a few of them cost less than an array."""
    left = drawn * sum(weights)
    for place, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return place
    return len(weights) - 1


def _made(way: Way, caption: str, words: list[Word], rng: np.random.Generator) -> str | None:
    if way in SWAPS:
        return swapped(caption, words, cast(SwapKind, way), rng)
    if way == "negation":
        return negated(caption, words)
    if way == "events":
        return reordered(caption, rng)
    if way == "words":
        found = perturbed(words, ["nouns_and_adjectives", "trigrams"], rng)
        return next(iter(found.values()), None)
    found_contrast = contrasted(caption, "attributes" if way == "attribute" else "relations", rng)
    return None if found_contrast is None else found_contrast[0]
