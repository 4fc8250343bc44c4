"""Captions that say that something is not there, or that something does not happen."""

from __future__ import annotations

from collections.abc import Sequence

from mmcontrast.language.words import DETERMINERS, Word, articled, edited

_ARTICLES = ("a", "an", "the", "some")


def without_article(thing: str) -> str:
    """A thing without the article that it begins with."""
    first, _, rest = thing.partition(" ")
    return rest if first.lower() in _ARTICLES and rest else thing


def denied(thing: str) -> str:
    """ "a dog" to "no dog"."""
    return f"no {without_article(thing)}"


def hybrid(there: str, absent: str) -> str:
    """ "a cat" and "a dog" to "a cat but no dog".

    Source: Alhamoud et al. 2025, NegBench, arXiv:2501.09425, whose questions mix affirmed and negated things.
    """
    return f"{articled(there)} but {denied(absent)}"


def negated(caption: str, words: Sequence[Word]) -> str | None:
    """The caption with its first verb denied, else with its first thing denied; None for a caption of neither.

    "a dog is running" to "a dog is not running", "a dog barks" to "a dog never barks", "a dog in a park" to "no dog in
    a park".  Captions that negate already have none.
    """
    texts = [word.text.lower() for word in words]
    if any(text in ("no", "not", "n't", "never", "without", "nobody", "nothing") for text in texts):
        return None
    for place, word in enumerate(words):
        if word.part == "auxiliary":
            return edited(caption, [(word.end, word.end, " not")])
        if word.part == "verb" and place > 0 and words[place - 1].part == "noun":
            said = "not" if texts[place].endswith("ing") else "never"
            return edited(caption, [(word.start, word.start, f"{said} ")])
    for place, word in enumerate(words):
        if word.part == "noun":
            first = place
            while first > 0 and words[first - 1].part in ("adjective", "noun", "determiner"):
                first -= 1
            opening = words[first]
            if texts[first] in DETERMINERS:
                return edited(caption, [(opening.start, opening.end, _cased("no", opening.text))])
            return edited(caption, [(opening.start, opening.start, _cased("no ", opening.text))])
    return None


def _cased(text: str, like: str) -> str:
    return text[:1].upper() + text[1:] if like[:1].isupper() and not like[1:2].isupper() else text
