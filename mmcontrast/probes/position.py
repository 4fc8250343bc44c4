"""Does a word count wherever it stands?  One word replaced at the start, in the middle or at the end of a caption."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmcontrast.config import config
from mmcontrast.language.edits import replaced
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Captioned, TextConfig
from mmcontrast.probes.captions import CaptionMaker, Made, content_words

LEAST_WORDS = 3


@MAKERS.register("position")
class Position(CaptionMaker):
    """A caption or the same one with its first, its middle, or its last noun, verb or adjective replaced.

    All three are asked of the same captions, so that the difference of the categories is one of place alone.

    Source: after Abbasi et al. 2025, ComCo, arXiv:2502.19842, who find that CLIP's text tower prefers what is
    mentioned first; their probes of whole scenes are the kind ``bias``.
    """

    @config
    class Config(TextConfig):
        """Fields of the maker."""

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """Three questions, or none."""
        words = content_words(self.tagger.tag(caption))
        if len(words) < LEAST_WORDS:
            self.counts["too_short"] += 1
            return
        avoided = [word for text in row.captions for word in text.split()]
        places = {"1 first": 0, "2 middle": len(words) // 2, "3 last": len(words) - 1}
        made = {name: replaced(caption, words[place], self.vocabulary, avoided, rng) for name, place in places.items()}
        if None in made.values():
            self.counts["nothing_to_replace"] += 1
            return
        for name, text in made.items():
            assert text is not None
            yield Made(name, [caption, text])
