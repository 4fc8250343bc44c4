"""Choices against plain loops, clip_benchmark's and mteb's functions, and chance by simulation."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from mmcontrast.errors import ConfigError, MetricError
from mmcontrast.evaluate.metrics.choice import by_group, choose, diagonal


def scores_of(items: int, media: int, texts: int, *, levels: int | None = None, seed: int = 0) -> torch.Tensor:
    scores = torch.randn(items, media, texts, generator=torch.Generator().manual_seed(seed))
    return scores if levels is None else (scores * levels / 3).round()


def loop(scores: list[list[float]], right: list[list[bool]]) -> bool:
    """Each row's right cells all score above each of its wrong cells."""
    return all(
        min(value for value, is_right in zip(row, marks, strict=True) if is_right)
        > max(value for value, is_right in zip(row, marks, strict=True) if not is_right)
        for row, marks in zip(scores, right, strict=True)
    )


@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("shape", [(2, 2), (1, 5), (3, 3)])
def test_text_choices_equal_a_plain_loop(shape: tuple[int, int], levels: int | None) -> None:
    scores = scores_of(50, *shape, levels=levels)
    found = choose(scores).text
    assert found is not None
    right = torch.eye(*shape, dtype=torch.bool).tolist()
    assert found.tolist() == [float(loop(item, right)) for item in scores.tolist()]


def test_image_choices_are_text_choices_of_the_transpose() -> None:
    scores = scores_of(40, 2, 2, levels=3)
    image, text = choose(scores).image, choose(scores.mT).text
    assert image is not None and text is not None and torch.equal(image, text)


def test_two_right_texts_must_both_beat_the_wrong_one() -> None:
    right = torch.tensor([[[True, True, False]]]).expand(3, 1, 3)
    scores = torch.tensor([[[3.0, 2.0, 1.0]], [[3.0, 1.0, 2.0]], [[3.0, 2.0, 2.0]]])
    found = choose(scores, right)
    assert found.text is not None and found.text.tolist() == [1, 0, 0]
    assert found.image is None and found.group is None  # one picture cannot be chosen from
    assert found.expected_text is not None and found.expected_text.tolist() == [1, 0, 0.5]
    assert found.tie_rate == pytest.approx(1 / 3) and found.chance["text"] == pytest.approx(1 / 3)


def test_a_constant_model_earns_nothing_and_says_that_it_ties() -> None:
    found = choose(torch.ones(7, 1, 5))
    assert found.text is not None and found.text.sum() == 0 and found.tie_rate == 1
    assert found.expected_text is not None and found.expected_text.tolist() == pytest.approx([0.2] * 7)


def test_expected_credit_is_the_mean_over_all_orders_of_equal_scores() -> None:
    right = torch.tensor([[[True, True, False, False]]])
    scores = torch.tensor([[[1.0, 2.0, 1.0, 0.0]]])  # the lower right one ties with a wrong one
    expected = choose(scores, right).expected_text
    orders = [sorted(range(4), key=lambda n, o=order: (-scores[0, 0, n], o[n])) for order in permutations(range(4))]  # type: ignore[misc]
    share = sum({order[0], order[1]} == {0, 1} for order in orders) / len(orders)
    assert expected is not None and float(expected) == pytest.approx(share)


def test_random_scores_are_at_chance() -> None:
    found = choose(scores_of(20000, 2, 2))
    for name, chance in found.chance.items():
        value = getattr(found, name)
        assert float(value.mean()) == pytest.approx(chance if name == "group" else 0.25, abs=0.012)
    four = choose(scores_of(20000, 1, 4))
    assert four.text is not None and float(four.text.mean()) == pytest.approx(four.chance["text"], abs=0.012)


def test_cells_that_are_not_there_change_nothing() -> None:
    scores = scores_of(20, 1, 3)
    padded = torch.cat([scores, torch.full((20, 1, 2), 9.0)], dim=2)
    valid = torch.ones_like(padded, dtype=torch.bool)
    valid[:, :, 3:] = False
    a, b = choose(scores).text, choose(padded, diagonal(20, 1, 5), valid=valid).text
    assert a is not None and b is not None and torch.equal(a, b)


@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("shape", [(2, 2), (1, 2), (1, 5), (3, 2)])
def test_clip_benchmark_is_reproduced_ties_included(shape: tuple[int, int], levels: int | None) -> None:
    peer = pytest.importorskip("clip_benchmark.metrics.image_caption_selection")
    scores = scores_of(30, *shape, levels=levels)

    items = []
    media, texts = shape
    for item in scores:
        # Unit vectors with these products do not exist in general, so the peer's normalisation is switched off.
        images = torch.zeros(media, 1, texts, 1)
        images[:, 0, :, 0] = item
        items.append(images)

    class Model:
        def encode_image(self, rows: torch.Tensor) -> torch.Tensor:
            return rows[:, 0, :, 0]

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.eye(texts).repeat(len(tokens) // texts, 1)

    normalize, peer.F.normalize = peer.F.normalize, lambda rows, dim: rows
    try:
        found = peer.evaluate(
            Model(),
            [(torch.stack(items), [["t"] * texts] * len(items))],
            lambda texts: torch.zeros(len(texts)),
            "cpu",
            amp=False,
        )
    finally:
        peer.F.normalize = normalize
    ours = choose(scores, compat="clip_benchmark")
    assert ours.text is not None and ours.image is not None and ours.group is not None
    for name, hits in (("text_acc", ours.text), ("image_acc", ours.image), ("acc", ours.group)):
        assert float(hits.mean()) == pytest.approx(found[name], abs=1e-7)


def test_mteb_never_finds_the_picture_of_one_picture() -> None:
    found = choose(scores_of(10, 1, 2), compat="mteb")
    assert found.image is not None and found.group is not None and found.image.sum() == found.group.sum() == 0


def test_aro_takes_the_first_of_equal_scores() -> None:
    ones = torch.ones(3, 1, 5)
    first, second = diagonal(3, 1, 5), torch.roll(diagonal(3, 1, 5), 1, dims=2)
    assert choose(ones, first, compat="aro").text.sum() == 3  # type: ignore[union-attr]
    assert choose(ones, second, compat="aro").text.sum() == 0  # type: ignore[union-attr]


def test_an_unknown_peer_and_bad_scores_are_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'clip_benchmark'"):
        choose(torch.ones(1, 1, 2), compat="clip_benchmrk")
    scores = torch.ones(2, 1, 2)
    scores[1, 0, 1] = math.nan
    with pytest.raises(MetricError, match="1 NaN or infinite values, the first at item 1, medium 0, text 1"):
        choose(scores)
    with pytest.raises(MetricError, match="nothing to choose"):
        choose(torch.ones(1, 1, 1))


def test_groups_weigh_equally_and_small_ones_leave() -> None:
    found = by_group(torch.tensor([1.0, 1, 1, 0, 1, 0]), ["a", "a", "a", "b", "by", "c"], exclude={"by"})
    assert found.macro == pytest.approx(1 / 3) and found.micro == pytest.approx(3 / 5)
    assert found.groups == {"a": (1.0, 3), "b": (0.0, 1), "c": (0.0, 1)} and found.excluded == {"by": 1}
    assert by_group(torch.tensor([1.0, 1, 0]), ["a", "a", "b"], min_count=2).macro == 1
    with pytest.raises(MetricError, match="no group is left"):
        by_group(torch.tensor([1.0]), ["a"], min_count=2)
