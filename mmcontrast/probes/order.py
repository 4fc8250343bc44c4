"""Which order of the words is right?  ARO's four perturbations, without its degenerate ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Len

from mmcontrast.config import config
from mmcontrast.language.order import normal, perturbed
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Captioned, TextConfig
from mmcontrast.probes.captions import CaptionMaker, Made

Way = Literal["nouns_and_adjectives", "all_but_nouns_and_adjectives", "within_trigrams", "trigrams"]


@MAKERS.register("order")
class Order(CaptionMaker):
    """A caption among the same words in other orders, all in lower case and without stops.

    Source: Yuksekgonul et al. 2023, ARO, arXiv:2210.01936, COCO-Order and Flickr30k-Order.
    """

    @config
    class Config(TextConfig):
        """Fields of the maker."""

        ways: Annotated[tuple[Way, ...], Len(1)] = (
            "nouns_and_adjectives",
            "all_but_nouns_and_adjectives",
            "within_trigrams",
            "trigrams",
        )  # a caption that some of them cannot change is left out, so that every item has as many texts

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """One question, if every way changes the caption."""
        words = self.tagger.tag(normal(caption))
        made: dict[str, Any] = perturbed(words, self.config.ways, rng)
        if len(made) < len(self.config.ways):
            self.counts["too_short" if len(words) < 4 else "nothing_to_exchange"] += 1
            return
        yield Made("order", [" ".join(word.text for word in words), *made.values()], {"ways": list(made)})
