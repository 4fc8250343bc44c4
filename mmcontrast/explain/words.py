"""Words of a caption: which tokens each is made of, and which words two captions differ in."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher

from jaxtyping import Float
from torch import Tensor

Encode = Callable[[str], list[int]]


def words_of(text: str) -> list[str]:
    """Words as they stand between spaces."""
    return re.findall(r"\S+", text)


def spans(text: str, encode: Encode) -> list[tuple[int, int]]:
    """First token of each word, and the one after its last; found by encoding longer and longer beginnings.

    Words beyond the tower's context have an empty span.
    """
    one, other = encode("a"), encode("b")
    lead = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    trail = len(one) - lead - 1
    words, whole = words_of(text), encode(text)
    last = len(whole) - trail
    ends = [lead]
    for count in range(1, len(words) + 1):
        ends.append(min(max(len(encode(" ".join(words[:count]))) - trail, ends[-1]), last))
    return list(zip(ends[:-1], ends[1:], strict=True))


def by_word(tokens: Float[Tensor, "P T"], places: list[tuple[int, int]]) -> Float[Tensor, "P words"]:
    """Sum tokens' columns of each word."""
    summed = tokens.new_zeros(tokens.shape[0], len(places))
    for number, (first, end) in enumerate(places):
        summed[:, number] = tokens[:, first:end].sum(dim=1)
    return summed


def different(first: str, second: str) -> tuple[list[bool], list[bool]]:
    """Which words of each caption the other does not have in that place; case and punctuation at the end are equal."""
    a, b = ([word.lower().strip(".,!?;:\"'") for word in words_of(text)] for text in (first, second))
    marks = [True] * len(a), [True] * len(b)
    for match in SequenceMatcher(a=a, b=b, autojunk=False).get_matching_blocks():
        for step in range(match.size):
            marks[0][match.a + step] = marks[1][match.b + step] = False
    return marks
