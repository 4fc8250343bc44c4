"""Some of a text's ids hidden behind a mask, or behind other ids: what masked language models read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MaskedText:
    """A text, and how its ids are to be hidden once a tokenizer has made them."""

    text: str
    seed: int
    share: float  # of the ids that are hidden; at least one is
    other: float  # share of those behind another id in the place of the mask


@dataclass(frozen=True)
class Masking:
    """What a vocabulary offers to hide ids behind."""

    mask_id: int
    special: frozenset[int]  # ids that are never hidden: start, end
    highest: int  # other ids are drawn from 1 to this

    def hide(self, ids: list[int], cell: MaskedText) -> list[int]:
        """Return the ids with as many hidden as the cell asks for; the same for the same seed."""
        places = [place for place, each in enumerate(ids) if each not in self.special]
        hidden, rng = list(ids), np.random.default_rng(cell.seed)
        count = min(len(places), max(1, round(cell.share * len(places))))
        for place in rng.permutation(len(places))[:count]:
            hidden[places[place]] = self._behind(ids[places[place]], rng, cell.other)
        return hidden

    def _behind(self, own: int, rng: np.random.Generator, other: float) -> int:
        if rng.random() >= other:
            return self.mask_id
        drawn = int(rng.integers(1, self.highest + 1))
        return self.mask_id if drawn == own or drawn in self.special else drawn
