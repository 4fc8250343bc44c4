"""Classifiers on frozen embeddings against scikit-learn, loops and made-up data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.evaluate.learners.logistic import fit_logistic, sweep
from mmcontrast.evaluate.learners.near_zero_shot import fit_near_zero_shot
from mmcontrast.evaluate.learners.neighbours import neighbour_votes
from mmcontrast.evaluate.learners.pair_tuned import fit_pair_tuned
from mmcontrast.evaluate.learners.transport import transport_plan


def blobs(rows: int, *, classes: int = 3, dims: int = 6, noise: float = 0.6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dims, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, classes, (rows,), generator=generator)
    return normalize(centres[labels] + noise * torch.randn(rows, dims, generator=generator), dim=1), labels


@pytest.mark.parametrize("inverse_strength", [0.1, 1.0, 100.0])
def test_logistic_regression_equals_sklearn(inverse_strength: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    z, labels = blobs(80)
    ours = fit_logistic(z, labels, classes=3, inverse_strength=inverse_strength)
    theirs = linear_model.LogisticRegression(C=inverse_strength, max_iter=5000, tol=1e-10).fit(z.double(), labels)
    assert np.allclose(ours.weight.numpy(), theirs.coef_, atol=2e-4)  # both stop at a tolerance
    held, _ = blobs(30, seed=1)
    assert np.allclose(ours.scores(held).softmax(1).numpy(), theirs.predict_proba(held.double()), atol=2e-4)


def test_a_start_changes_no_result() -> None:
    z, labels = blobs(60)
    cold = fit_logistic(z, labels, classes=3, inverse_strength=1.0)
    other = fit_logistic(z, labels, classes=3, inverse_strength=100.0)
    warm = fit_logistic(z, labels, classes=3, inverse_strength=1.0, start=other)
    assert torch.allclose(cold.weight, warm.weight, atol=1e-4)


def test_the_sweep_takes_the_strongest_of_equally_good() -> None:
    z, labels = blobs(90, noise=1.2)
    held, held_labels = blobs(60, noise=1.2, seed=1)
    found = sweep(z, labels, held, held_labels, classes=3)
    assert found.accuracy == max(found.tried.values())
    assert found.inverse_strength == min(each for each, value in found.tried.items() if value == found.accuracy)
    assert len(found.tried) >= 10


def test_radius_nought_is_zero_shot_and_a_step_outside_is_pulled_back() -> None:
    z, labels = blobs(40)
    class_z = normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(5)), dim=1)
    still = fit_near_zero_shot(z, labels, class_z, radius=0.0)
    assert torch.allclose(still.weight / 100, class_z.double())
    near = fit_near_zero_shot(z, labels, class_z, radius=0.3)
    moved = (near.weight / 100 - class_z.double()).norm(dim=1)
    assert (moved <= 0.3 + 1e-9).all() and moved.max() > 0.29


def test_a_wider_radius_fits_better() -> None:
    z, labels = blobs(60)
    class_z = normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(5)), dim=1)

    def loss(radius: float) -> float:
        return float(
            torch.nn.functional.cross_entropy(fit_near_zero_shot(z, labels, class_z, radius=radius).scores(z), labels)
        )

    assert loss(0.0) > loss(0.1) > loss(0.5)


def test_pair_tuning_learns_from_a_few_rows_of_noisy_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(8)
    z = torch.randn(16, 12, generator=generator)
    z[:, 0] = 2.0 * (2 * labels - 1)
    held_labels = torch.arange(2).repeat(200)
    held = torch.randn(400, 12, generator=generator)
    held[:, 0] = 2.0 * (2 * held_labels - 1)
    tuned = fit_pair_tuned(z, labels, classes=2)
    plain = fit_logistic(normalize(z, dim=1), labels, classes=2, inverse_strength=1.0)
    right = [
        float((each.scores(normalize(held, dim=1)).argmax(1) == held_labels).double().mean())
        for each in (tuned, plain)
    ]
    assert right[0] > 0.97 and right[1] > 0.97
    assert torch.equal(tuned.weight, fit_pair_tuned(z, labels, classes=2).weight)  # seeded


@pytest.mark.parametrize("k", [1, 5])
def test_votes_equal_a_plain_loop(k: int) -> None:
    z, labels = blobs(30)
    queries, _ = blobs(9, seed=1)
    votes = neighbour_votes(queries, z, labels, classes=3, k=k, block_rows=4)
    for row, query in zip(votes, queries, strict=True):
        cosines = [float(query @ each) for each in z]
        expected = [0.0, 0.0, 0.0]
        for place in sorted(range(30), key=lambda n: -cosines[n])[:k]:
            expected[int(labels[place])] += math.exp(cosines[place] / 0.07)
        assert row.tolist() == pytest.approx(expected, rel=1e-4)  # float32 cosines


def test_a_plan_keeps_both_margins() -> None:
    scores = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) * 0.02
    prior = torch.tensor([0.5, 0.3, 0.2, 0.0])
    plan = transport_plan(scores, prior)
    assert torch.allclose(plan.sum(0), prior.double(), atol=1e-6) and torch.allclose(
        plan.sum(1), torch.full((40,), 1 / 40).double(), atol=1e-6
    )
    counts = torch.bincount(plan.argmax(1), minlength=4)
    assert counts[3] == 0 and abs(int(counts[0]) - 20) <= 2


def test_transport_undoes_a_bias_towards_one_class() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    scores = 0.02 * torch.randn(120, 3, generator=generator)
    scores[torch.arange(120), labels] += 0.05
    scores[:, 0] += 0.1  # every row looks like class 0
    plain = float((scores.argmax(1) == labels).double().mean())
    corrected = float((transport_plan(scores, torch.ones(3) / 3).argmax(1) == labels).double().mean())
    assert plain < 0.5 < 0.85 < corrected
