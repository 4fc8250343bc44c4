"""Which attribute is right?  Colours, sizes, levels and the like, replaced by another of their kind or exchanged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmcontrast.config import config
from mmcontrast.language.edits import contrasted
from mmcontrast.language.swaps import swapped
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Captioned, TextConfig
from mmcontrast.probes.captions import CaptionMaker, Made


@MAKERS.register("attribute")
class Attribute(CaptionMaker):
    """A caption or the same one with one attribute replaced, or with two exchanged.

    Categories are the sets of words that exclude one another (``assets/language/contrasts.json``), and ``exchanged``.

    Source: Hsieh et al. 2023, SugarCrepe, arXiv:2306.14610 (replace and swap attribute).
    """

    @config
    class Config(TextConfig):
        """Fields of the maker."""

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """Up to two questions."""
        found = contrasted(caption, "attributes", rng)
        other = swapped(caption, self.tagger.tag(caption), "adjective", rng)
        if found is not None and found[0] not in row.captions:
            yield Made(found[1], [caption, found[0]])
        if other is not None and other not in row.captions:
            yield Made("exchanged", [caption, other])
        if found is None and other is None:
            self.counts["no_attribute"] += 1
