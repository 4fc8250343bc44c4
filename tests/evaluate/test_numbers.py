"""Intervals, classification counts, pair scores and the gap, against loops, sklearn and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmcontrast.evaluate.intervals import bootstrap, clustered_wilson, effective_rows, mcnemar, wilson
from mmcontrast.evaluate.metrics.classification import (
    class_weights,
    confusion_counts,
    majority_share,
    mean_class_recall,
    most_confused,
    per_class,
)
from mmcontrast.evaluate.metrics.health import alignment, gap, uniformity
from mmcontrast.evaluate.order import order_hits
from mmcontrast.evaluate.paired import two_dimensions


def test_wilson_equals_the_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263.
    low, high = wilson(81, 263)
    assert low == pytest.approx(0.2553, abs=5e-5) and high == pytest.approx(0.3662, abs=5e-5)


def test_wilson_stays_inside_at_the_ends() -> None:
    assert wilson(0, 10)[0] == 0 and wilson(0, 10)[1] > 0.2
    assert wilson(10, 10)[1] == pytest.approx(1) and wilson(0, 0) == (0.0, 1.0)


def test_clusters_of_copies_count_once() -> None:
    hits = np.array([1, 0, 1, 1, 0, 0, 1, 0] * 5, dtype=float)
    copies, clusters = np.repeat(hits, 4), np.repeat(np.arange(len(hits)), 4)
    assert effective_rows(copies, clusters) == pytest.approx(len(hits), rel=0.05)  # N / (N - 1) of the variance
    narrow, wide = wilson(copies.sum(), len(copies)), clustered_wilson(copies, clusters)
    assert wide[1] - wide[0] > 1.8 * (narrow[1] - narrow[0])


def test_all_wrong_in_clusters_still_has_an_interval() -> None:
    low, high = clustered_wilson(np.zeros(40), np.repeat(np.arange(10), 4))
    assert (low, high) == wilson(0, 10)


def test_bootstrap_covers_the_mean_of_clustered_rows() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        centres = rng.normal(size=40)
        values = np.repeat(centres, 5) + 0.1 * rng.normal(size=200)
        low, high = bootstrap(values, np.repeat(np.arange(40), 5), draws=300, seed=trial)
        covered += low <= 0 <= high
    assert covered >= 51  # 95% of 60 is 57; fewer than 51 has a chance below 1%


def test_weights_make_rows_fewer() -> None:
    hits, clusters = np.array([1.0, 0, 1, 1, 0, 1, 1, 0]), np.arange(8)
    low, high = clustered_wilson(hits, clusters)
    assert clustered_wilson(hits, clusters, weights=np.full(8, 3.0)) == pytest.approx((low, high))
    few_low, few_high = clustered_wilson(hits, clusters, weights=np.array([9.0, 1, 1, 1, 1, 1, 1, 1]))
    assert few_low < low and few_high - few_low > high - low
    # Rows that weigh nothing are as good as absent: their clusters are never worth a draw.
    weights = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
    values = np.array([0.0, 1, 2, 3, 50, 60, 70, 80])
    low, high = bootstrap(values, np.array([0, 0, 1, 1, 0, 0, 1, 1]), weights=weights)
    assert 0.5 <= low <= high <= 2.5


def test_bootstrap_is_seeded() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_mcnemar_equals_the_binomial_sum() -> None:
    assert mcnemar(3, 9) == pytest.approx(2 * sum(math.comb(12, k) for k in range(4)) / 2**12)
    assert mcnemar(0, 0) == 1 and mcnemar(5, 5) == 1


def test_classification_counts_equal_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 5, (80,), generator=generator) ** 2 // 4
    predicted = torch.randint(0, 5, (80,), generator=generator)
    expected = metrics.confusion_matrix(true, predicted, labels=range(5))
    assert np.array_equal(confusion_counts(true, predicted, classes=5).numpy(), expected)
    balanced = metrics.balanced_accuracy_score(true, predicted)
    assert mean_class_recall(true, predicted) == pytest.approx(balanced, abs=1e-6)  # float32 sums
    assert float(class_weights(true).mean()) == pytest.approx(1, abs=1e-6)


def test_classes_and_mistakes_equal_a_plain_count() -> None:
    true, predicted = torch.tensor([0, 0, 0, 1, 1, 3]), torch.tensor([0, 1, 1, 1, 1, 0])
    assert per_class(["a", "b", "c", "d"], true, predicted) == {"a": (1 / 3, 3), "b": (1.0, 2), "d": (0.0, 1)}
    assert most_confused(["a", "b", "c", "d"], true, predicted, keep=5) == [("a", "b", 2)]
    assert most_confused(["a", "b"], true[:1], predicted[:1], keep=5) == []
    assert majority_share(true) == 0.5


def test_pair_scores_are_strict() -> None:
    right, tied = [[2.0, 1.0], [1.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]
    text_only = [[2.0, 1.0], [3.0, 4.0]]  # each clip prefers its caption; caption 0 prefers clip 1
    found = order_hits(torch.tensor([right, tied, text_only]))
    assert found["text"].tolist() == [1, 0, 1]
    assert found["audio"].tolist() == [1, 0, 0]
    assert found["group"].tolist() == [1, 0, 0]
    assert found["two_way"].tolist() == [1, 0, 1, 1, 0, 1]


def test_random_pair_scores_are_at_chance() -> None:
    found = order_hits(torch.randn(20000, 2, 2, generator=torch.Generator().manual_seed(0)))
    for name, chance in {"group": 1 / 6, "text": 1 / 4, "audio": 1 / 4, "two_way": 1 / 2}.items():
        assert float(found[name].mean()) == pytest.approx(chance, abs=0.012)  # four standard errors


def test_gap_alignment_and_uniformity_equal_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1) for _ in range(2))
    pairs = [(i, j) for i in range(6) for j in range(i)]
    expected = math.log(sum(math.exp(-2 * float((a[i] - a[j]).norm()) ** 2) for i, j in pairs) / len(pairs))
    assert uniformity(a) == pytest.approx(expected, abs=1e-5)  # float32
    assert alignment(a, b) == pytest.approx(sum(float((x - y).norm()) ** 2 for x, y in zip(a, b, strict=True)) / 6)
    assert gap(a, a + 1) == pytest.approx(2) and gap(a, a) == 0


def test_two_dimensions_keep_a_plane() -> None:
    plane = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    lifted = plane @ torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(1))).Q.T
    assert torch.allclose(torch.pdist(two_dimensions(lifted)), torch.pdist(plane), atol=1e-4)  # float32
