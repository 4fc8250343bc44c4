"""Choices against the evaluation functions that their authors publish, written out again as plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmcontrast.evaluate.metrics.choice import by_group, choose, diagonal, text_ranks

ITEMS = 60


def scores_of(media: int, texts: int, *, levels: int | None = None, seed: int = 0) -> Tensor:
    """Random scores; with levels, many of them are equal."""
    scores = torch.randn(ITEMS, media, texts, generator=torch.Generator().manual_seed(seed))
    return scores if levels is None else (scores * levels / 2).round()


def first_of_highest(row: list[float]) -> int:
    """numpy's argmax."""
    return max(range(len(row)), key=lambda place: (row[place], -place))


def at(place: int, texts: int) -> Tensor:
    return torch.roll(diagonal(ITEMS, 1, texts), place, dims=2)


@pytest.mark.parametrize("levels", [None, 2])
def test_aro_takes_the_second_caption_and_averages_over_relations(levels: int | None) -> None:
    scores, names = scores_of(1, 2, levels=levels), [f"r{number % 7}" for number in range(ITEMS)]
    right = [first_of_highest(item[0]) == 1 for item in scores.tolist()]
    kept = sorted(set(names) - {"r2"})
    per_name = [sum(hit for hit, name in zip(right, names, strict=True) if name == each) / names.count(each)
                for each in kept]  # fmt: skip
    found = choose(scores, at(1, 2), compat="aro").text
    assert found is not None and found.tolist() == [float(hit) for hit in right]
    assert by_group(found, names, exclude={"r2"}).macro == pytest.approx(sum(per_name) / len(per_name))


@pytest.mark.parametrize("levels", [None, 2])
def test_aros_order_takes_the_first_of_five(levels: int | None) -> None:
    scores = scores_of(1, 5, levels=levels)
    found = choose(scores, at(0, 5), compat="aro").text
    assert found is not None
    assert found.tolist() == [float(first_of_highest(item[0]) == 0) for item in scores.tolist()]


@pytest.mark.parametrize("levels", [None, 2])
def test_sugarcrepe_valse_and_nevir_are_strict(levels: int | None) -> None:
    pairs = scores_of(1, 2, levels=levels)
    found = choose(pairs).text
    assert found is not None and found.tolist() == [float(right > wrong) for ((right, wrong),) in pairs.tolist()]
    both = scores_of(2, 2, levels=levels, seed=1)
    found = choose(both).text
    assert found is not None  # NevIR: each question prefers its own document
    assert found.tolist() == [
        float(sum([first[0] > first[1], second[1] > second[0]]) == 2) for first, second in both.tolist()
    ]


@pytest.mark.parametrize("levels", [None, 2])
def test_both_captions_of_sugarcrepe_plus_beat_the_wrong_one(levels: int | None) -> None:
    scores = scores_of(1, 3, levels=levels)
    right = torch.tensor([True, True, False]).expand(ITEMS, 1, 3)
    found = choose(scores, right).text
    assert found is not None and found.tolist() == [float(a > n and b > n) for ((a, b, n),) in scores.tolist()]
    # Its text-only task: the two captions are more alike than either is to the wrong one.
    there = torch.tensor([[False, True, True], [True, False, True]]).expand(ITEMS, 2, 3)
    own = torch.tensor([[False, True, False], [True, False, False]]).expand(ITEMS, 2, 3)
    table = scores_of(2, 3, levels=levels, seed=2)
    table[:, 1, 0] = table[:, 0, 1]  # similarities are symmetric
    found = choose(table, own, valid=there).text
    assert found is not None
    assert found.tolist() == [float(a[1] > b[2] and a[1] > a[2]) for a, b in table.tolist()]


@pytest.mark.parametrize("levels", [None, 2])
def test_winoground_compa_and_cola_have_text_image_and_group(levels: int | None) -> None:
    scores = scores_of(2, 2, levels=levels)  # (item, medium, text)
    found = choose(scores)
    text, image, group = [], [], []
    for (c0_i0, c1_i0), (c0_i1, c1_i1) in scores.tolist():
        text.append(float(c0_i0 > c1_i0 and c1_i1 > c0_i1))  # CompA's f
        image.append(float(c0_i0 > c0_i1 and c1_i1 > c1_i0))  # CompA's g, COLA's pairs
        group.append(text[-1] * image[-1])
    assert found.text is not None and found.image is not None and found.group is not None
    assert (found.text.tolist(), found.image.tolist(), found.group.tolist()) == (text, image, group)


@pytest.mark.parametrize("levels", [None, 2])
def test_mmvp_takes_the_second_picture_unless_the_first_has_more_than_half(levels: int | None) -> None:
    scores = scores_of(2, 2, levels=levels)
    right = []
    for (a, b), (c, d) in scores.tolist():
        first = [math.exp(x) / (math.exp(x) + math.exp(y)) > 0.5 for x, y in ((a, c), (b, d))]
        right.append(float(first[0] and not first[1]))
    found = choose(scores, compat="mmvp").image
    assert found is not None and found.tolist() == right


@pytest.mark.parametrize("levels", [None, 2])
def test_negbench_takes_the_first_of_the_best_wherever_the_answer_stands(levels: int | None) -> None:
    scores = scores_of(1, 4, levels=levels)
    places = [number % 4 for number in range(ITEMS)]
    right = torch.zeros(ITEMS, 1, 4, dtype=torch.bool)
    right[torch.arange(ITEMS), 0, torch.tensor(places)] = True
    found = choose(scores, right, compat="negbench").text
    assert found is not None and found.tolist() == [
        float(first_of_highest(item[0]) == place) for item, place in zip(scores.tolist(), places, strict=True)
    ]


def test_crepe_ranks_the_caption_among_its_negatives() -> None:
    scores = scores_of(1, 7)
    ranks = [sorted(item[0], reverse=True).index(item[0][0]) for item in scores.tolist()]
    found = text_ranks(scores, at(0, 7))
    assert (found - 1).tolist() == ranks
    assert float(found.double().mean()) == pytest.approx(sum(ranks) / ITEMS + 1)
    for k in (1, 3, 5, 10):
        assert float((found <= k).double().mean()) == pytest.approx(sum(rank < k for rank in ranks) / ITEMS)


@pytest.mark.parametrize("levels", [None, 2])
def test_svo_probes_ask_which_picture_a_sentence_prefers(levels: int | None) -> None:
    scores = scores_of(2, 1, levels=levels)
    right = torch.tensor([[True], [False]]).expand(ITEMS, 2, 1)
    found = choose(scores, right)
    assert found.text is None and found.image is not None
    assert found.image.tolist() == [float(positive[0] > negative[0]) for positive, negative in scores.tolist()]
