"""Which words belong together?  Two nouns, adjectives, verbs, or the sides of a relation, exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from annotated_types import Len

from mmcontrast.config import config
from mmcontrast.language.swaps import SWAPS, SwapKind, swapped
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Captioned, TextConfig
from mmcontrast.probes.captions import CaptionMaker, Made


@MAKERS.register("swap")
class Swap(CaptionMaker):
    """A caption or the same one with two of its words exchanged; one category a part of speech.

    Source: Yuksekgonul et al. 2023, arXiv:2210.01936 (NegCLIP's negatives; VG-Relation); Hsieh et al. 2023,
    SugarCrepe, arXiv:2306.14610 (swap).
    """

    @config
    class Config(TextConfig):
        """Fields of the maker."""

        kinds: Annotated[tuple[SwapKind, ...], Len(1)] = SWAPS  # what is exchanged, each in items of its own

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """One question for each kind that the caption has two of."""
        words = self.tagger.tag(caption)
        found = False
        for kind in self.config.kinds:
            made = swapped(caption, words, kind, rng)
            if made is not None and made not in row.captions:
                found = True
                yield Made(kind, [caption, made])
        if not found:
            self.counts["too_short" if len(words) < 2 else "nothing_to_exchange"] += 1
