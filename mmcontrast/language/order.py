"""The same words in another order, in the four ways of ARO; never the caption itself, nor one way twice alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from mmcontrast.language.swaps import same_things
from mmcontrast.language.words import Word

TRIES = 32  # draws of a way before it is given up; with two orders to choose from, all fail once in 4e9 captions
_DROPPED = re.compile(r"[.!\"()*#:;~]")
_THINGS = ("noun", "adjective")


def normal(caption: str, *, most: int = 30) -> str:
    """Lower case without stops, at most ``most`` words: what ARO and BLIP compare captions by.

    Source: Yuksekgonul et al. 2023, arXiv:2210.01936, whose captions all go through this, right or wrong.
    """
    return " ".join(_DROPPED.sub(" ", caption.lower()).split()[:most])


def _shuffled(tokens: Sequence[str], places: Sequence[int], rng: np.random.Generator) -> list[str]:
    result = list(tokens)
    for place, drawn in zip(places, rng.permutation(len(places)).tolist(), strict=True):
        result[place] = tokens[places[drawn]]
    return result


def nouns_and_adjectives(words: Sequence[Word], rng: np.random.Generator) -> list[str]:
    """Nouns among the places of nouns, then adjectives among those of adjectives."""
    tokens = [word.text for word in words]
    for part in _THINGS:
        tokens = _shuffled(tokens, [place for place, word in enumerate(words) if word.part == part], rng)
    return tokens


def all_but_nouns_and_adjectives(words: Sequence[Word], rng: np.random.Generator) -> list[str]:
    """All other words and marks among their places."""
    return _shuffled(
        [word.text for word in words], [place for place, word in enumerate(words) if word.part not in _THINGS], rng
    )


def within_trigrams(words: Sequence[Word], rng: np.random.Generator) -> list[str]:
    """Words within each group of three that follow one another."""
    tokens = [word.text for word in words]
    for start in range(0, len(tokens), 3):
        tokens = _shuffled(tokens, range(start, min(start + 3, len(tokens))), rng)
    return tokens


def trigrams(words: Sequence[Word], rng: np.random.Generator) -> list[str]:
    """Groups of three among one another."""
    tokens = [word.text for word in words]
    groups = [tokens[start : start + 3] for start in range(0, len(tokens), 3)]
    return list(chain.from_iterable(groups[drawn] for drawn in rng.permutation(len(groups)).tolist()))


Way = Callable[[Sequence[Word], np.random.Generator], list[str]]
WAYS: dict[str, Way] = {
    "nouns_and_adjectives": nouns_and_adjectives,
    "all_but_nouns_and_adjectives": all_but_nouns_and_adjectives,
    "within_trigrams": within_trigrams,
    "trigrams": trigrams,
}


def perturbed(words: Sequence[Word], ways: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """One caption for each way, all different from the words as they are and from one another.

    A way that finds no such order is left out: nothing to exchange, words that are all alike, or an order that says
    the same ("a dog and a cat").

    Source: Yuksekgonul et al. 2023, ARO, arXiv:2210.01936, section 3 (the four ways).  Theirs may return the caption
    itself, or the same order twice: one negative in six captions of COCO, counted as right answers there.
    """
    tokens = [word.text for word in words]
    source = " ".join(tokens)
    seen, found = {source}, {}
    for way in ways:
        for _ in range(TRIES):
            order = WAYS[way](words, rng)
            if order == tokens and not _can_change(words, way):
                break
            text = " ".join(order)
            if text not in seen and not same_things(text, source):
                seen.add(text)
                found[way] = text
                break
    return found


def _can_change(words: Sequence[Word], way: str) -> bool:
    """Whether a way has two places of different words to exchange: tries on a caption without are spared."""
    if way == "nouns_and_adjectives":
        return any(len({word.text for word in words if word.part == part}) > 1 for part in _THINGS)
    if way == "all_but_nouns_and_adjectives":
        return len({word.text for word in words if word.part not in _THINGS}) > 1
    return len(words) > (3 if way == "trigrams" else 1)
