"""Two words, or two things, exchanged: nearly the same words with another meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmcontrast.language.words import Part, Word, exchanged, same

SwapKind = Literal["noun", "adjective", "verb", "adverb", "relation"]
SWAPS: tuple[SwapKind, ...] = ("noun", "adjective", "verb", "adverb", "relation")
MOST_WORDS = 64  # that are looked at: pairs grow with the square
# Between two things these say the same in both directions.
SYMMETRIC = frozenset(
    ["and", "or", "with", "near", "by", "beside", "besides", "alongside", "among", "next", "together", "plus", "while"]
)
_JOINTS = re.compile(r"\b(?:and|or|with|near|by|beside|besides|alongside|next to|together with|plus|while)\b|[,&+]")
_ARTICLES = re.compile(r"\b(?:a|an|the|some)\b|[^\w\s]")


@dataclass(frozen=True)
class Phrase:
    """Words that name a thing: determiners, adjectives and nouns, ending in a noun."""

    first: int  # places among the words
    last: int
    start: int  # places in the caption
    end: int


def phrases(words: Sequence[Word]) -> list[Phrase]:
    """Noun phrases, in order, without overlaps."""
    found: list[Phrase] = []
    opened: int | None = None
    last_noun: int | None = None
    for place, word in enumerate([*words, Word("", "other", 0)]):
        if word.part in ("determiner", "adjective", "noun") and not (last_noun is not None and word.part != "noun"):
            opened = place if opened is None else opened
            last_noun = place if word.part == "noun" else last_noun
            continue
        if opened is not None and last_noun is not None:
            found.append(Phrase(opened, last_noun, words[opened].start, words[last_noun].end))
        opened, last_noun = None, None
        if word.part in ("determiner", "adjective"):  # what follows a noun at once opens the next phrase
            opened = place
    return found


def swapped(caption: str, words: Sequence[Word], kind: SwapKind, rng: np.random.Generator) -> str | None:
    """The caption with two words of one kind exchanged, drawn among all pairs; None where none changes its meaning.

    ``relation`` exchanges the things on both sides of a verb or preposition ("a dog chases a cat"); the other kinds
    exchange two words of one part of speech, nouns of one number.  Pairs that leave the meaning alone ("a cat and a
    dog") are left out.

    Source: Yuksekgonul et al. 2023, NegCLIP and ARO, arXiv:2210.01936, sections 3 and 4; the check of the meaning is
    ours.
    """
    pairs = _relations(words) if kind == "relation" else _pairs(words[:MOST_WORDS], kind)
    while pairs:
        made = exchanged(caption, *pairs.pop(int(rng.integers(len(pairs)))))
        if not same(made, caption) and not same_things(made, caption):
            return made
    return None


def same_things(one: str, other: str) -> bool:
    """Whether two captions join the same things by words that say the same in both directions."""
    if _JOINTS.search(one.lower()) is None:
        return False
    return _joined(one) == _joined(other)


def _joined(caption: str) -> list[str]:
    parts = _JOINTS.split(caption.lower())
    return sorted(" ".join(_ARTICLES.sub(" ", part).split()) for part in parts if part.strip())


def _pairs(words: Sequence[Word], kind: Part | str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    chosen = [word for word in words if word.part == kind]
    return [
        ((first.start, first.end), (second.start, second.end))
        for place, first in enumerate(chosen)
        for second in chosen[place + 1 :]
        if first.text.lower() != second.text.lower() and (kind != "noun" or _plural(first) == _plural(second))
    ]


def _plural(noun: Word) -> bool:
    text = noun.text.lower()
    return text in ("people", "men", "women", "children") or text.endswith("s") and not text.endswith(("ss", "us"))


def _relations(words: Sequence[Word]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of neighbouring things with a verb or a preposition between them, and nothing symmetric."""
    things = phrases(words)
    found = []
    for first, second in zip(things, things[1:], strict=False):
        between = words[first.last + 1 : second.first]
        tied = any(word.part in ("verb", "preposition") for word in between)
        if tied and not any(word.text.lower() in SYMMETRIC or not word.text[:1].isalnum() for word in between):
            found.append(((first.start, first.end), (second.start, second.end)))
    return found
