"""Captions against references: BLEU, ROUGE-L and CIDEr-D, as pure functions of words.

METEOR and SPICE need a Java program with its own word nets and parser, and are not here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Words = Sequence[str]
LONGEST = 4  # words of an n-gram
BETA = 1.2  # of ROUGE-L: recall weighs more
SIGMA = 6.0  # of CIDEr-D: words of difference in length that are forgiven


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; "don't" stays one word, where the Penn Treebank's tokenizer makes two."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def ngrams(words: Words, length: int) -> Counter[tuple[str, ...]]:
    """How often each run of that many words occurs."""
    return Counter(tuple(words[start : start + length]) for start in range(len(words) - length + 1))


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU adds up over rows."""

    right: np.ndarray  # (N, 4) n-grams that a reference holds, each as often as there at most
    total: np.ndarray  # (N, 4) n-grams
    length: np.ndarray  # (N,) words
    reference: np.ndarray  # (N,) words of the reference of the closest length, the shorter of two

    def score(self, rows: np.ndarray | None = None) -> float:
        """BLEU-4 of all rows together, or of a draw of them; 0 where no run of four words is right."""
        chosen = np.arange(len(self.length)) if rows is None else rows
        right, total = self.right[chosen].sum(axis=0), self.total[chosen].sum(axis=0)
        if not right.all():
            return 0.0
        short = min(0.0, 1 - float(self.reference[chosen].sum() / self.length[chosen].sum()))
        return math.exp(short + float(np.log(right / total).mean()))


def bleu_counts(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> BleuCounts:
    """Count what BLEU needs of every row.

    Source: Papineni et al. 2002, ACL; the closest reference's length as in the COCO caption evaluation.
    """
    right, total = np.zeros((len(candidates), LONGEST)), np.zeros((len(candidates), LONGEST))
    for row, (candidate, known) in enumerate(zip(candidates, references, strict=True)):
        for n in range(1, LONGEST + 1):
            found, most = ngrams(candidate, n), Counter[tuple[str, ...]]()
            for reference in known:
                most |= ngrams(reference, n)
            right[row, n - 1] = (found & most).total()
            total[row, n - 1] = found.total()
    closest = [
        min((abs(len(each) - len(candidate)), len(each)) for each in known)[1]
        for candidate, known in zip(candidates, references, strict=True)
    ]
    return BleuCounts(right, total, np.array([len(each) for each in candidates]), np.array(closest))


def rouge_l(candidate: Words, references: Sequence[Words]) -> float:
    """F-measure of the longest common subsequence; best precision and best recall may be of two references.

    Source: Lin 2004, ACL workshop on text summarization; beta and maxima as in the COCO caption evaluation.
    """
    common = [_common(candidate, each) for each in references]
    precision = max(common) / max(1, len(candidate))
    recall = max(shared / max(1, len(each)) for shared, each in zip(common, references, strict=True))
    if precision == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def cider_d(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """CIDEr-D of every row (N,), from 0 to 10; rare n-grams, counted over all rows' references, weigh more.

    Source: Vedantam et al. 2015, arXiv:1411.5726, section 3 and appendix (CIDEr-D); as in the COCO caption evaluation,
    lengths are counted in pairs of words and a row's n-gram counts once however many of its references hold it.
    """
    document = Counter(
        gram
        for known in references
        for gram in {gram for each in known for n in range(1, LONGEST + 1) for gram in ngrams(each, n)}
    )
    rarest = math.log(len(references)) if references else 0.0

    def weighed(words: Words) -> list[dict[tuple[str, ...], float]]:
        return [
            {gram: count * (rarest - math.log(max(1, document[gram]))) for gram, count in ngrams(words, n).items()}
            for n in range(1, LONGEST + 1)
        ]

    scores = np.zeros(len(candidates))
    for row, (candidate, known) in enumerate(zip(candidates, references, strict=True)):
        own = weighed(candidate)
        for each in known:
            difference = max(0, len(candidate) - 1) - max(0, len(each) - 1)
            likeness = sum(_likeness(a, b) for a, b in zip(own, weighed(each), strict=True)) / LONGEST
            scores[row] += 10 * likeness * math.exp(-(difference**2) / (2 * SIGMA**2)) / len(known)
    return scores


def _likeness(own: dict[tuple[str, ...], float], other: dict[tuple[str, ...], float]) -> float:
    """Cosine, with a candidate's weight cut off at the reference's."""
    product = sum(min(weight, other[gram]) * other[gram] for gram, weight in own.items() if gram in other)
    size = math.sqrt(sum(each**2 for each in own.values()) * sum(each**2 for each in other.values()))
    return product / size if size else product


def _common(a: Words, b: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
