"""The caption after a coarse edit: words or a span left out, words shuffled, spans exchanged."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Lt

from mmcontrast.config import config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original

Edit = Literal["delete", "delete_span", "shuffle", "reorder"]


@DERIVATIONS.register("edit_words")
class EditWords(Derivation):
    """Edit a share of the words; at least one word always stays.

    ``delete`` leaves out words drawn one by one and ``delete_span`` words in a row; ``shuffle`` puts the words in any
    order; ``reorder`` exchanges two spans that do not overlap.

    Source: Wu et al. 2020, CLEAR, arXiv:2012.15466, section 3.2 (deletion, span deletion, reordering); Yan et al.
    2021, ConSERT, arXiv:2105.11741, section 3.2 (shuffling, and cutoff of tokens, which is ``delete``).
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "text"  # column whose caption it is
        edit: Edit = "delete_span"
        share: Annotated[float, Gt(0), Lt(1)] = 0.3  # of the words, left out or, in reorder, in each span

    def derive(self, original: Original, make_rng: MakeGenerator) -> str:
        """Draw the edit."""
        words, rng = str(original.value).split(), make_rng()
        if len(words) < 2:
            return " ".join(words)
        return " ".join(self._edited(words, rng))

    def _edited(self, words: list[str], rng: np.random.Generator) -> list[str]:
        total = len(words)
        if self.config.edit == "shuffle":
            return [words[place] for place in rng.permutation(total)]
        if self.config.edit == "reorder":
            span = max(1, min(int(self.config.share * total), total // 2))
            first = int(rng.integers(0, total - 2 * span + 1))
            second = int(rng.integers(first + span, total - span + 1))
            return [
                *words[:first],
                *words[second : second + span],
                *words[first + span : second],
                *words[first : first + span],
                *words[second + span :],
            ]
        count = min(max(1, round(self.config.share * total)), total - 1)
        if self.config.edit == "delete_span":
            start = int(rng.integers(0, total - count + 1))
            return words[:start] + words[start + count :]
        gone = set(rng.choice(total, size=count, replace=False).tolist())
        return [word for place, word in enumerate(words) if place not in gone]
