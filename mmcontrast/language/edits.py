"""One word made wrong: an attribute by another of its kind, a relation by its opposite, a thing by another thing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from mmcontrast.language.assets import read_asset
from mmcontrast.language.words import Part, Word, agreeing, edited, spelled

CONTRASTS = "contrasts.json"
TRIES = 16
Contrast = Literal["attributes", "relations"]


@lru_cache(maxsize=4)
def contrasts(kind: Contrast) -> tuple[re.Pattern[str], Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]]:
    """A pattern of all words of a kind, and for each its sets: (name, the other words)."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, words in read_asset(CONTRASTS)[kind].items():
        for word in words:
            found.setdefault(word, []).append((name, tuple(other for other in words if other != word)))
    longest = sorted(found, key=lambda word: (-len(word), word))
    # "left of" is a relation, "left" an attribute.
    end = r")(?![\w-])" + (r"(?!\s+of\b)" if kind == "attributes" else "")
    pattern = re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, longest)) + end, flags=re.I)
    return pattern, {word: tuple(sets) for word, sets in found.items()}


def contrasted(caption: str, kind: Contrast, rng: np.random.Generator) -> tuple[str, str] | None:
    """Put another word of its set in the place of one, drawn among those of the kind.

    Returns:
        The caption and the name of the set, without what follows a comma; None where there is no such word.

    Source: Hsieh et al. 2023, SugarCrepe, arXiv:2306.14610 (replace attribute, replace relation), whose language model
    lists of opposites stand for.
    """
    pattern, sets = contrasts(kind)
    places = list(pattern.finditer(caption))
    if not places:
        return None
    match = places[int(rng.integers(len(places)))]
    name, others = (options := sets[match.group().lower()])[int(rng.integers(len(options)))]
    chosen = spelled(others[int(rng.integers(len(others)))], like=match.group())
    made = edited(caption, [(match.start(), match.end(), chosen)])
    return agreeing(made, match.start(), chosen), name.split(",")[0]


class Vocabulary:
    """Words of a collection by part of speech, with how often they occur: what may stand in another's place."""

    def __init__(
        self, tagged: Iterable[Sequence[Word]], parts: Sequence[Part] = ("noun", "verb", "adjective")
    ) -> None:
        counts: dict[Part, Counter[str]] = {part: Counter() for part in parts}
        for words in tagged:
            for word in words:
                if word.part in counts and word.text.isalpha():
                    counts[word.part][word.text.lower()] += 1
        self._words = {part: sorted(counter) for part, counter in counts.items()}
        self._ends = {
            part: np.cumsum([counts[part][word] for word in words]) if words else np.zeros(0)
            for part, words in self._words.items()
        }

    def count(self, part: Part) -> int:
        """How many different words of a part there are."""
        return len(self._words.get(part, ()))

    def other(self, word: Word, avoided: Iterable[str], rng: np.random.Generator) -> str | None:
        """Another word of the same part and ending, as often as it occurs; none that is avoided."""
        words = self._words.get(word.part, [])
        if not words:
            return None
        taken, ends = {each.lower() for each in avoided} | {word.text.lower()}, self._ends[word.part]
        for _ in range(TRIES):
            drawn = words[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]
            if drawn not in taken and _ending(drawn) == _ending(word.text.lower()):
                return spelled(drawn, like=word.text)
        return None


def replaced(
    caption: str, word: Word, vocabulary: Vocabulary, avoided: Iterable[str], rng: np.random.Generator
) -> str | None:
    """Put another word of the collection in a word's place; None where none fits.

    Args:
        avoided: words that may be right too, such as those of the row's other captions.
    """
    other = vocabulary.other(word, avoided, rng)
    if other is None:
        return None
    return agreeing(edited(caption, [(word.start, word.end, other)]), word.start, other)


def _ending(word: str) -> str:
    """What must stay for the sentence to stay whole: number of nouns, form of verbs."""
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and not word.endswith(("ss", "us")):
            return ending
    return ""
