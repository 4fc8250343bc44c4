"""Set operations, BM25 and rank fusion against their formulas in plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mmcontrast.search.fusion import reciprocal_ranks
from mmcontrast.search.sets import combined
from mmcontrast.search.words import Words, words_of

TEXTS = ["A red dog", "the dog and the other dog", "", "Ein roter Hund, 3 Tage", "a cat"]


def test_both_must_hold_and_the_third_must_not() -> None:
    a, b, c = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 2.0]), np.array([-1.0, 0.5, 4.0])
    assert combined([a, b], [c]).tolist() == [1.0, 0.5, -2.0]
    assert combined([a], []).tolist() == a.tolist()


def test_rank_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    rankings = [np.array([7, 2, 9]), np.array([9, 4])]
    expected: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking.tolist(), start=1):
            expected[row] = expected.get(row, 0) + 1 / (60 + rank)
    rows, scores = reciprocal_ranks(rankings)
    assert rows.tolist() == [9, 7, 2, 4]  # 2 and 4 have equal sums
    assert scores.tolist() == pytest.approx([expected[row] for row in rows.tolist()])


def bm25(query: str, *, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25 of every text, without its constant factor k1 + 1."""
    documents = [words_of(text) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in words_of(query):
            having = sum(word in each for each in documents)
            rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            count = document.count(word)
            score += rarity * count / (count + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


def test_words_are_scored_by_bm25(tmp_path: Path) -> None:
    words = Words.of(TEXTS)
    assert words is not None
    words.write(tmp_path / "words")
    for asked in (words, Words.read(tmp_path / "words")):
        for query in ("dog", "red DOG", "roter hund unknown"):
            assert asked.scores(query).tolist() == pytest.approx(bm25(query), abs=1e-5)
        assert not asked.scores("nowhere").any() and not asked.scores("").any()


def test_rows_without_words_have_no_index() -> None:
    assert Words.of(["", "...", "!"]) is None
