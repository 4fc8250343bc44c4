"""The caption with some of its words said twice: a view of another length and the same meaning."""

from __future__ import annotations

from typing import ClassVar

from mmcontrast.config import Fraction, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original


@DERIVATIONS.register("repeat_words")
class RepeatWords(Derivation):
    """Repeat up to ``rate`` of the words, at least two if there are as many, each right behind itself.

    Two views of one sentence by dropout alone have the same length, which a text tower takes for likeness; repeated
    words keep it from that.

    Source: Wu et al. 2021, ESimCSE, arXiv:2109.04380 (their rate is 0.32, over sub-words).
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "text"  # column whose caption it is
        rate: Fraction = 0.32  # largest share of the words that are repeated

    def derive(self, original: Original, make_rng: MakeGenerator) -> str:
        """Draw how many, then which."""
        words, rng = str(original.value).split(), make_rng()
        most = min(len(words), max(2, int(self.config.rate * len(words))))
        count = int(rng.integers(0, most + 1))
        chosen = set(rng.choice(len(words), size=count, replace=False).tolist()) if words else set()
        return " ".join(f"{word} {word}" if place in chosen else word for place, word in enumerate(words))
