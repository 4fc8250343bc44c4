"""Few-shot adapters against their papers' formulas in plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mmcontrast.evaluate.learners.clip_adapter import best_clip_adapter, fit_clip_adapter
from mmcontrast.evaluate.learners.tip_adapter import TipAdapter, cached, chosen, tuned

CLASSES, DIM = 3, 8


def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(count) % CLASSES
    return normalize(centres[labels] + 0.8 * torch.randn(count, DIM, generator=generator), dim=1), labels


def prompts() -> Tensor:
    """Points of classes that are of little use."""
    return normalize(torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(5)), dim=1)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(dim=1) == labels).double().mean())


def test_a_cache_votes_as_in_a_plain_loop() -> None:
    (z, labels), (queries, _) = rows(9, 0), rows(4, 1)
    adapter = replace(cached(z, labels, prompts()), alpha=2.5, beta=4.0)
    for query, found in zip(queries, adapter.scores(queries), strict=True):
        expected = [100 * float(query @ point) for point in prompts()]
        for key, label in zip(z, labels.tolist(), strict=True):
            expected[label] += 2.5 * math.exp(-4.0 * (1 - float(query @ key)))
        assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_tuning_takes_the_step_that_the_gradient_says_and_fits_better() -> None:
    z, labels = rows(12, 0)
    start = replace(cached(z, labels, prompts() * 0.01), alpha=1.0, beta=2.0)
    found = tuned(start, z, labels)
    assert cross_entropy(found.scores(z), labels) < cross_entropy(start.scores(z), labels)
    assert torch.equal(found.values, start.values) and torch.equal(found.keys, tuned(start, z, labels).keys)
    # Twenty steps of AdamW at a cosine rate move no number by more than the sum of the rates and the decay.
    assert 0 < float((found.keys - start.keys).abs().max()) <= 20 * 1e-3 * 1.02


def test_held_rows_choose_how_much_the_cache_counts() -> None:
    (z, labels), (held, held_labels), (queries, truth) = rows(30, 0), rows(12, 1), rows(90, 2)
    start = cached(z, labels, prompts())
    found = chosen(start, held, held_labels)
    zero_shot = replace(start, alpha=0.0)
    assert accuracy(found.scores(queries), truth) > accuracy(zero_shot.scores(queries), truth) + 0.2
    assert chosen(start, held[:0], held_labels[:0]) == start
    right = TipAdapter(normalize(torch.eye(CLASSES, DIM), dim=1), z, start.values)
    easy = torch.eye(CLASSES, DIM)
    assert chosen(right, easy, torch.arange(CLASSES)).alpha == 0.0, "of equals the least"


def test_a_bottleneck_blends_as_the_paper_says_and_without_it_is_zero_shot() -> None:
    z, labels = rows(12, 0)
    adapter = fit_clip_adapter(z, labels, prompts(), ratio=0.3)
    down, up = adapter.down, adapter.up
    assert down.shape == (DIM, DIM // 4)
    for point, found in zip(z, adapter.scores(z), strict=True):
        hidden = [max(0.0, float(point @ down[:, place])) for place in range(down.shape[1])]
        moved = [max(0.0, sum(h * float(up[n, place]) for n, h in enumerate(hidden))) for place in range(DIM)]
        blended = torch.tensor([0.3 * a + 0.7 * float(b) for a, b in zip(moved, point, strict=True)])
        expected = [100 * float(blended @ each) / float(blended.norm()) for each in prompts()]
        assert found.tolist() == pytest.approx(expected, abs=1e-3)
    assert torch.allclose(replace(adapter, ratio=0.0).scores(z), 100 * z @ prompts().T, atol=1e-4)


def test_held_rows_choose_the_ratio() -> None:
    (z, labels), (held, held_labels) = rows(30, 0), rows(30, 1)
    found = best_clip_adapter(z, labels, prompts(), held, held_labels)
    assert found.ratio > 0 and accuracy(found.scores(held), held_labels) > accuracy(held @ prompts().T, held_labels)
    assert best_clip_adapter(z, labels, prompts(), held[:0], held_labels[:0]).ratio == 0.2
