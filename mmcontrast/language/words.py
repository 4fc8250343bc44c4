"""A caption as words with places and parts of speech."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Part = Literal["noun", "verb", "adjective", "adverb", "preposition", "auxiliary", "determiner", "other"]
WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
# By sound, not by letter: "a one-eyed unicorn", "an hour".
_TAKES_AN = re.compile(
    r"(?!one\b|once\b|uni(?![nm])|us[aeu]|ut[ei]|eu|ewe|ukulele|ufo)[aeiou]|hour|heir|honest|honou?r", re.IGNORECASE
)
_BLANKS = str.maketrans("", "", " \t\n.,")
_ARTICLE = re.compile(r"\b([Aa])(n?)\s+$")


class Word(NamedTuple):
    """One word, or mark, of a caption."""

    text: str
    part: Part
    start: int  # of the word in the caption, in characters

    @property
    def end(self) -> int:
        """Where it ends in the caption."""
        return self.start + len(self.text)


def spelled(text: str, *, like: str) -> str:
    """Give a word the capital that another one has in its place."""
    return text[:1].upper() + text[1:] if like[:1].isupper() and not text[:1].isupper() else text


def edited(caption: str, changes: Iterable[tuple[int, int, str]]) -> str:
    """Replace spans (start, end, text) that do not overlap, in any order."""
    for start, end, text in sorted(changes, reverse=True):
        caption = caption[:start] + text + caption[end:]
    return caption


def exchanged(caption: str, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Exchange two spans that do not overlap; a capital at the caption's start stays at its start."""
    first, second = sorted((first, second))
    one, other = caption[first[0] : first[1]], caption[second[0] : second[1]]
    if first[0] == 0 and one[:1].isupper() and not one[1:2].isupper():
        one, other = one[:1].lower() + one[1:], other[:1].upper() + other[1:]
    made = edited(caption, [(*first, other), (*second, one)])
    # The later one first: an article that agrees with its new noun may be a letter longer.
    made = agreeing(made, second[1] - len(one), one)
    return agreeing(made, first[0], other)


def agreeing(caption: str, start: int, word: str) -> str:
    """Make the article before a new word agree with it.

    Args:
        start: where the word begins in the caption.
    """
    before = _ARTICLE.search(caption, 0, start)
    if before is None:
        return caption
    article = before.group(1) + ("n" if _TAKES_AN.match(word) else "")
    return caption[: before.start()] + article + caption[before.end(1) + len(before.group(2)) :]


def same(one: str, other: str) -> bool:
    """Whether two captions differ in case, spaces and stops at most."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return text.translate(_BLANKS).lower()


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun."""
    return f"an {noun}" if _TAKES_AN.match(noun) else f"a {noun}"


def articled(noun: str) -> str:
    """A name with an article: as it is if it begins with a determiner, or is a plural; else with "a" or "an"."""
    first, last = noun.split()[0].lower(), noun.split()[-1].lower()
    plural = last.endswith("s") and not last.endswith(("ss", "us", "is"))
    return noun if first in DETERMINERS or plural else with_article(noun)


DETERMINERS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "some",
        "any",
        "no",
        "every",
        "each",
        "another",
        "all",
        "both",
        "several",
        "many",
        "few",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "his",
        "her",
        "its",
        "their",
        "our",
        "my",
        "your",
    ]
)
