"""Ranks in pools of their own, against plain loops over sorted lists."""

from __future__ import annotations

import itertools

import pytest
import torch

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.among import Pools, ranks_among

LEVELS = torch.randint(0, 6, (8, 12), generator=torch.Generator().manual_seed(0)).float()  # with ties


def rows_of(queries: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return LEVELS[queries[:, 0].long()]


def pools(*, candidates: bool) -> Pools:
    generator = torch.Generator().manual_seed(1)
    order = [torch.randperm(12, generator=generator).tolist() for _ in range(8)]
    return Pools(
        12,
        [each[:2] for each in order],
        [each[2:4] for each in order],
        [each[:7] for each in order] if candidates else None,
    )


@pytest.mark.parametrize("candidates", [False, True])
def test_ranks_equal_a_loop_over_the_pool(candidates: bool) -> None:
    task = pools(candidates=candidates)
    found = task.rank(torch.arange(8.0)[:, None], torch.zeros(12, 1), similarity=rows_of, shown=3)
    for query in range(8):
        pool = set(task.candidates[query] if task.candidates else range(12)) - set(task.excluded[query])
        best = max(float(LEVELS[query, place]) for place in task.right[query])
        wrong = [float(LEVELS[query, place]) for place in pool - set(task.right[query])]
        assert int(found.first[query]) == 1 + sum(score >= best for score in wrong)
        assert bool(found.tied[query]) == (best in wrong)
        top = sorted((float(LEVELS[query, place]) for place in pool), reverse=True)[:3]
        assert found.scores[query].tolist() == top and {int(place) for place in found.best[query]} <= pool


def test_chance_counts_all_orders_of_a_pool() -> None:
    task = Pools(6, [[0, 1]], [[5]])
    hits = [bool({0, 1} & set(order[:2])) for order in itertools.permutations(range(5))]
    assert float(task.chance(2)) == pytest.approx(sum(hits) / len(hits))
    assert float(task.chance(50)) == 1


def test_a_query_without_a_right_target_is_refused() -> None:
    none = torch.zeros(1, 3, dtype=torch.bool)
    with pytest.raises(MetricError, match="query 0 has no right target"):
        ranks_among(torch.zeros(1, 3), none, ~none)
