"""Controls that see nothing, hear nothing, or read no word order: what a test's texts give away by themselves."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter

import torch
from torch import Tensor

from mmcontrast.evaluate.metrics.ranks import Similarity

FOLDS = 5  # of the learner that reads texts alone


def by_length(texts: list[str]) -> Similarity:
    """Scores of targets that are texts: the longer the better, whatever is asked.

    In SugarCrepe's add-object part the wrong caption is the longer one 99 times in 100; here the right one may be.
    """
    lengths = torch.tensor([float(len(text)) for text in texts])

    def similarity(queries: Tensor, targets: Tensor) -> Tensor:
        return lengths.expand(len(queries), -1).clone()

    return similarity


def words_of(text: str) -> list[str]:
    """Its words in lower case, as every control here reads it."""
    return re.findall(r"[\w'-]+", text.lower())


def bag_of_words(text: str) -> str:
    """The same words in alphabetical order: what is left without word order and punctuation."""
    return " ".join(sorted(words_of(text)))


def text_alone(texts: list[list[str]], right: list[list[bool]], clusters: list[str]) -> list[list[float]]:
    """Scores of a learner that sees no picture and hears no sound: does this text read like the right ones?

    Naive Bayes over the presence of words and word pairs, learned on the items of other clusters (five folds).  Where
    it does well, the wrong texts give themselves away.

    Args:
        texts: of each item.
        right: which of them belong to a context of the item.
        clusters: of the items; those of one cluster fall into one fold.

    Source: the control is Hsieh et al. 2023, arXiv:2306.14610, section 3, with a language model in this place.
    """
    folds = [zlib.crc32(cluster.encode()) % FOLDS for cluster in clusters]
    features = [[_features(text) for text in item] for item in texts]
    seen = [(Counter[str](), Counter[str]()) for _ in range(FOLDS)]  # (wrong, right) of each fold
    for fold, item, marks in zip(folds, features, right, strict=True):
        for words, mark in zip(item, marks, strict=True):
            seen[fold][mark].update([*words, ""])  # the empty word counts texts
    everywhere = tuple(sum((counts[mark] for counts in seen), Counter[str]()) for mark in (False, True))

    def weight(word: str, fold: int) -> float:
        wrong, good = (everywhere[mark][word] - seen[fold][mark][word] for mark in (False, True))
        wrong_texts, good_texts = (everywhere[mark][""] - seen[fold][mark][""] for mark in (False, True))
        return math.log((good + 1) / (good_texts + 2)) - math.log((wrong + 1) / (wrong_texts + 2))

    return [
        [math.fsum(weight(word, fold) for word in words) for words in item]
        for fold, item in zip(folds, features, strict=True)
    ]


def _features(text: str) -> list[str]:
    words = words_of(text)
    pairs = [f"{first} {second}" for first, second in zip(["<", *words], [*words, ">"], strict=True)]
    return sorted({*words, *pairs})
