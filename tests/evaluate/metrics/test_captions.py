"""Caption metrics against the COCO evaluation's own Python code."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from mmcontrast.evaluate.metrics.captions import bleu_counts, cider_d, rouge_l, words_of

VOCABULARY = ["a", "dog", "runs", "on", "the", "grass", "red", "ball", "with", "two"]


def made(seed: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Sentences whose candidates share words and order with their references."""
    rng = random.Random(seed)
    references = [[rng.choices(VOCABULARY, k=rng.randint(4, 9)) for _ in range(rng.randint(1, 4))] for _ in range(12)]
    candidates = []
    for known in references:
        words = list(rng.choice(known))
        if rng.random() < 0.7:
            words[rng.randrange(len(words))] = rng.choice(VOCABULARY)
        candidates.append(words + rng.choices(VOCABULARY, k=rng.randint(0, 3)))
    candidates[0] = ["ball"]
    return candidates, references


def peer(name: str, scorer: Any, seed: int) -> tuple[float | list[float], Any]:
    candidates, references = made(seed)
    known = {row: [" ".join(each) for each in refs] for row, refs in enumerate(references)}
    found = {row: [" ".join(words)] for row, words in enumerate(candidates)}
    return scorer.compute_score(known, found, **({"verbose": 0} if name == "bleu" else {}))


@pytest.mark.parametrize("seed", [0, 1])
def test_cider_equals_the_coco_evaluation(seed: int) -> None:
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    mean, each = peer("cider", cider.Cider(), seed)
    assert cider_d(*made(seed)).tolist() == pytest.approx(each.tolist(), abs=1e-9)
    assert float(np.mean(cider_d(*made(seed)))) == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_bleu_and_rouge_equal_the_coco_evaluation(seed: int) -> None:
    bleu, rouge = pytest.importorskip("pycocoevalcap.bleu.bleu"), pytest.importorskip("pycocoevalcap.rouge.rouge")
    candidates, references = made(seed)
    whole, _ = peer("bleu", bleu.Bleu(4), seed)
    assert bleu_counts(candidates, references).score() == pytest.approx(whole[3], rel=1e-6)  # its small constants
    _, each = peer("rouge", rouge.Rouge(), seed)
    ours = [rouge_l(words, known) for words, known in zip(candidates, references, strict=True)]
    assert ours == pytest.approx(each.tolist())


def test_a_short_caption_pays_and_a_wrong_one_gets_nothing() -> None:
    references = [[["a", "b", "c", "d", "e", "f"]]]
    whole, short = (bleu_counts([references[0][0][:k]], references).score() for k in (6, 5))
    assert whole == pytest.approx(1) and short == pytest.approx(np.exp(1 - 6 / 5))
    assert bleu_counts([["x", "y", "z", "w"]], references).score() == 0 == rouge_l(["x"], references[0])
    assert rouge_l([], references[0]) == 0 and bleu_counts([[]], references).score() == 0


def test_words_are_lower_case_without_punctuation() -> None:
    assert words_of("A dog's ball, the DJ's 2nd -- don't!") == ["a", "dog's", "ball", "the", "dj's", "2nd", "don't"]
