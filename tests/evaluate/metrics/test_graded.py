"""Graded measures against GCL's formulas in plain loops; nDCG is beside trec_eval in test_peers.py."""

from __future__ import annotations

import pytest
import torch

from mmcontrast.evaluate.metrics.graded import (
    expected_reciprocal_rank,
    graded_ndcg,
    ndcg_by_chance,
    rank_biased_precision,
)


def table(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    relevance = torch.randint(0, 8, (6, 15), generator=generator) * (torch.rand(6, 15, generator=generator) > 0.4)
    relevance[:, 0] += 1
    return torch.randn(6, 15, generator=generator), relevance.double()


def in_order(scores: torch.Tensor, relevance: torch.Tensor) -> list[list[float]]:
    return [
        [grade for _, grade in sorted(zip(row.tolist(), grades.tolist(), strict=True), key=lambda pair: -pair[0])]
        for row, grades in zip(scores, relevance, strict=True)
    ]


def test_expected_reciprocal_rank_equals_a_loop() -> None:
    scores, relevance = table()
    expected = []
    for grades in in_order(scores, relevance):
        total, goes_on = 0.0, 1.0
        for rank, grade in enumerate(grades, start=1):
            stops = (2**grade - 1) / 2 ** max(grades)
            total += goes_on * stops / rank
            goes_on *= 1 - stops
        expected.append(total)
    assert expected_reciprocal_rank(scores, relevance).tolist() == pytest.approx(expected, abs=1e-6)


def test_rank_biased_precision_equals_a_loop() -> None:
    scores, relevance = table(1)
    expected = [
        (1 - 0.8) * sum(grade / max(grades) * 0.8 ** (rank - 1) for rank, grade in enumerate(grades, start=1))
        for grades in in_order(scores, relevance)
    ]
    assert rank_biased_precision(scores, relevance, persistence=0.8).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_depth_cuts_the_ranking() -> None:
    scores, relevance = table()
    assert (rank_biased_precision(scores, relevance, depth=3) <= rank_biased_precision(scores, relevance)).all()
    first = torch.tensor([grades[0] for grades in in_order(scores, relevance)])
    largest = relevance.max(dim=1).values
    assert torch.allclose(
        expected_reciprocal_rank(scores, relevance, depth=1).double(), (2**first - 1) / 2**largest, atol=1e-6
    )


def test_chance_is_the_mean_over_random_orders() -> None:
    _, relevance = table()
    generator = torch.Generator().manual_seed(3)
    draws = torch.stack([
        graded_ndcg(torch.rand(6, 15, generator=generator), relevance, k=5) for _ in range(3000)
    ])  # fmt: skip
    # 3,000 draws of a deviation near 0.25: standard errors of 0.005.
    assert torch.allclose(draws.mean(dim=0), ndcg_by_chance(relevance, k=5), atol=0.02)
