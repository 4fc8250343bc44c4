"""Ranks against plain loops, sklearn and the definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.ranks import rank_first, top_order


def product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.T


def problem(queries: int = 23, targets: int = 31, *, levels: int | None = None, seed: int = 0) -> tuple[Tensor, ...]:
    """Scores (through one-hot queries) with several right answers each, and many ties when there are few levels."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, targets, generator=generator)
    if levels:
        scores = (scores * levels / 4).round()
    ids = torch.arange(queries) % 7
    target_ids = torch.cat([torch.arange(7), torch.randint(0, 9, (targets - 7,), generator=generator)])
    return torch.eye(queries), scores.T.contiguous(), ids, target_ids


def loop_rank(scores: list[float], right: list[bool]) -> int:
    best = max(score for score, is_right in zip(scores, right, strict=True) if is_right)
    return 1 + sum(score >= best for score, is_right in zip(scores, right, strict=True) if not is_right)


@pytest.mark.parametrize("levels", [None, 3])
def test_ranks_equal_a_plain_loop(levels: int | None) -> None:
    queries, targets, ids, target_ids = problem(levels=levels)
    ranks = rank_first(queries, targets, ids, target_ids, similarity=product)
    for number, scores in enumerate((queries @ targets.T).tolist()):
        right = [int(ids[number]) == int(target) for target in target_ids]
        assert int(ranks.first[number]) == loop_rank(scores, right)
        assert int(ranks.num_right[number]) == sum(right)


@pytest.mark.parametrize("levels", [None, 3])
def test_results_do_not_depend_on_the_tile(levels: int | None) -> None:
    arguments = problem(levels=levels)
    whole = rank_first(*arguments, similarity=product)
    order = top_order(*arguments, k=10, similarity=product)
    for cells in (1, 31, 100, 31 * 7):
        tiled = rank_first(*arguments, similarity=product, tile_cells=cells)
        assert torch.equal(tiled.first, whole.first) and torch.equal(tiled.ties, whole.ties)
        again = top_order(*arguments, k=10, similarity=product, tile_cells=cells)
        assert torch.equal(again.right, order.right)


def test_a_tie_with_a_wrong_answer_is_wrong() -> None:
    ids = torch.arange(5)
    same = torch.ones(5, 3)
    ranks = rank_first(same, same, ids, ids, similarity=product)
    assert ranks.first.tolist() == [5] * 5
    assert float(ranks.hits(4).sum()) == 0
    assert ranks.tie_rate() == 1
    assert ranks.expected(1) == pytest.approx(1 / 5)
    assert ranks.expected(4) == pytest.approx(4 / 5)
    order = top_order(same, same, ids, ids, k=4, similarity=product)
    assert int(order.right.sum()) == 0


def test_ties_between_right_answers_cost_nothing() -> None:
    queries, targets = torch.ones(1, 2), torch.tensor([[1.0, 0], [1.0, 0], [0.0, 0]])
    ranks = rank_first(queries, targets, torch.tensor([0]), torch.tensor([0, 0, 1]), similarity=product)
    assert ranks.first.tolist() == [1]


def test_chance_equals_the_share_of_random_orders() -> None:
    queries, targets, ids, target_ids = problem(queries=14, targets=20)
    generator = torch.Generator().manual_seed(1)
    hits, draws = 0.0, 400
    for _ in range(draws):
        scores = torch.randn(20, 14, generator=generator)
        hits += float(rank_first(queries, scores, ids, target_ids, similarity=product).hits(3).mean())
    chance = rank_first(queries, targets, ids, target_ids, similarity=product).chance(3)
    assert hits / draws == pytest.approx(chance, abs=0.02)  # 5600 draws: standard error below 0.007


def test_average_precision_equals_sklearn_over_the_whole_order() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    queries, targets, ids, target_ids = problem()
    order = top_order(queries, targets, ids, target_ids, k=31, similarity=product)
    for number, scores in enumerate((queries @ targets.T).tolist()):
        right = (target_ids == ids[number]).int().tolist()
        expected = metrics.average_precision_score(right, scores)
        assert float(order.average_precision()[number]) == pytest.approx(expected, abs=1e-6)  # float32 sums


def test_discounted_gain_equals_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    queries, targets, ids, target_ids = problem()
    order = top_order(queries, targets, ids, target_ids, k=10, similarity=product)
    for number, scores in enumerate((queries @ targets.T).tolist()):
        right = (target_ids == ids[number]).int().tolist()
        expected = metrics.ndcg_score([right], [scores], k=10)
        assert float(order.discounted_gain()[number]) == pytest.approx(expected, abs=1e-6)  # float32 sums


def test_precision_recall_and_gain_equal_plain_loops_with_ties() -> None:
    queries, targets, ids, target_ids = problem(levels=3)
    order = top_order(queries, targets, ids, target_ids, k=10, similarity=product)
    for number, scores in enumerate((queries @ targets.T).tolist()):
        right = [int(ids[number]) == int(target) for target in target_ids]
        # Highest score first; of equal scores the wrong answers first.
        places = sorted(range(len(scores)), key=lambda place: (-scores[place], right[place]))[:10]
        found, precision, gain = 0, 0.0, 0.0
        for rank, place in enumerate(places, start=1):
            if right[place]:
                found += 1
                precision += found / rank
                gain += 1 / math.log2(rank + 1)
        total = sum(right)
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, total) + 1))
        assert float(order.recall()[number]) == pytest.approx(found / total)
        assert float(order.average_precision()[number]) == pytest.approx(precision / min(10, total), abs=1e-6)
        assert float(order.discounted_gain()[number]) == pytest.approx(gain / ideal, abs=1e-6)


def test_any_hit_and_true_recall_differ_with_many_right_answers() -> None:
    queries, targets = torch.ones(1, 1), torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    ids, target_ids = torch.tensor([0]), torch.tensor([0, 1, 1, 0])
    assert float(rank_first(queries, targets, ids, target_ids, similarity=product).hits(1)) == 1
    assert float(top_order(queries, targets, ids, target_ids, k=1, similarity=product).recall()) == 0.5


def test_a_pool_smaller_than_k_is_whole() -> None:
    ids = torch.arange(3)
    ranks = rank_first(torch.eye(3), torch.eye(3), ids, ids, similarity=product)
    assert ranks.chance(10) == 1 and float(ranks.hits(10).mean()) == 1


def test_embeddings_that_are_not_finite_are_refused() -> None:
    ids = torch.arange(2)
    with pytest.raises(MetricError, match="NaN"):
        rank_first(torch.full((2, 2), torch.nan), torch.eye(2), ids, ids, similarity=product)


def test_chance_counts_answers_where_a_similarity_makes_one_of_several_points() -> None:
    def best_of_two(queries: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return (queries @ points.T).unflatten(1, (-1, 2)).amax(dim=2)

    ids = torch.arange(3)
    ranks = rank_first(torch.eye(3, 6), torch.eye(6), ids, ids, similarity=best_of_two)
    assert ranks.num_targets == 3 and ranks.chance(1) == pytest.approx(1 / 3)
