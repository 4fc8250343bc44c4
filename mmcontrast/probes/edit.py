"""Which word is right?  One thing, action, attribute or relation replaced: the smallest change of meaning."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmcontrast.config import config
from mmcontrast.language.edits import contrasted, replaced
from mmcontrast.language.words import Part, Word
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Captioned, TextConfig
from mmcontrast.probes.captions import CaptionMaker, Made, content_words


@MAKERS.register("edit")
class Edit(CaptionMaker):
    """A caption or the same one with one word replaced: by another word of the set, or by its opposite.

    Source: Hsieh et al. 2023, SugarCrepe, arXiv:2306.14610 (replace object, attribute and relation), with words of the
    set, drawn as often as they occur, in place of a language model's.
    """

    @config
    class Config(TextConfig):
        """Fields of the maker."""

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """Up to four questions."""
        words = content_words(self.tagger.tag(caption))
        avoided = [word for text in row.captions for word in text.split()]
        made: dict[str, str | None] = {
            "thing": self._replaced(caption, words, "noun", avoided, rng),
            "action": self._replaced(caption, words, "verb", avoided, rng),
            "attribute": (contrasted(caption, "attributes", rng) or (None,))[0],
            "relation": (contrasted(caption, "relations", rng) or (None,))[0],
        }
        found = {name: text for name, text in made.items() if text is not None and text not in row.captions}
        if not found:
            self.counts["nothing_to_replace"] += 1
        for name, text in found.items():
            yield Made(name, [caption, text])

    def _replaced(
        self, caption: str, words: list[Word], part: Part, avoided: list[str], rng: np.random.Generator
    ) -> str | None:
        chosen = [word for word in words if word.part == part]
        if not chosen:
            return None
        return replaced(caption, chosen[int(rng.integers(len(chosen)))], self.vocabulary, avoided, rng)
