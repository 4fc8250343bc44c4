"""Clusters as negatives against the formula in plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.cluster_negatives import ClusterNegatives
from mmcontrast.objectives.clusters import Clusters
from mmcontrast.objectives.simcse import SimCSE
from tests.objectives.made_up import Cells, log_sum, made_up, mean

PAIR = ("text", "text.view2")
SCALE = 5.0


def built(begin_below: float = 1.0) -> ClusterNegatives:
    config = ClusterNegatives.Config(
        clusters=3,
        begin_below=begin_below,
        emphasis=2.5,
        margin_weight=0.3,
        near=0.1,
        far=0.2,
        rate=0.25,
        temperature=1 / SCALE,
    )
    objective = ClusterNegatives(config)
    objective.attach(Spaces(dim=8, widths={}))
    return objective


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_it_is_its_formula_once_clusters_have_started(absent: float) -> None:
    objective = built()
    objective.after_step(made_up(*PAIR, seed=1))
    assert objective.clusters.started
    emb = made_up(*PAIR, seed=2, absent=absent)
    cells = Cells(emb)
    rows = cells.both(*PAIR)
    centres = [each.double() / each.double().norm() for each in objective.clusters.centers]
    order = {i: sorted(range(3), key=lambda k, i=i: -float(cells.vector("text", i) @ centres[k])) for i in rows}
    losses = []
    for i in rows:
        logits = {j: SCALE * cells.sim("text", i, "text.view2", j) for j in [i, *cells.negatives("text.view2", i)]}
        total = sum(math.exp(each) for each in logits.values())
        for j in rows:
            times = 2.5 if i == j else 1.0
            total += times * math.exp(SCALE * float(cells.vector("text", i) @ centres[order[j][1]]))
        margin = 0.0
        for j in rows:
            if j != i and order[i][0] == order[j][0]:
                behind = (logits[j] - logits[i]) / SCALE
                margin += max(0.0, behind + 0.1) + max(0.0, -behind - 0.2)
        losses.append(math.log(total) - logits[i] + 0.3 * margin / len(rows))
    assert any(order[i][0] == order[j][0] for i in rows for j in rows if i != j)
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=2e-5)


def test_before_the_clusters_start_it_is_simcse() -> None:
    emb = made_up(*PAIR, seed=3, absent=0.2)
    objective = built(begin_below=-1.0)
    objective.after_step(emb)
    assert not objective.clusters.started
    theirs = SimCSE(SimCSE.Config(temperature=1 / SCALE))(emb).loss
    torch.testing.assert_close(objective(emb).loss, theirs, atol=1e-6, rtol=1e-6)
    assert float(theirs.detach()) == pytest.approx(
        mean(
            log_sum(
                SCALE * Cells(emb).sim("text", i, "text.view2", j) for j in [i, *Cells(emb).negatives("text.view2", i)]
            )
            - SCALE * Cells(emb).sim("text", i, "text.view2", i)
            for i in Cells(emb).both(*PAIR)
        ),
        rel=1e-5,
    )


def test_clusters_start_from_rows_that_are_unlike_and_follow_their_means() -> None:
    rows = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.2], [0.1, 1.0]]), dim=1)
    clusters = Clusters(count=3, dim=2)
    clusters.start(rows)
    # The nearest to the mean, the one least like it, and the one of the others least like that.
    assert torch.equal(clusters.centers, rows[[3, 1, 2]])
    clusters.follow(rows[[0, 0, 2]], rate=0.25)
    expected = torch.stack([rows[3], rows[1] + 0.25 * (rows[0] - rows[1]), rows[2]])
    torch.testing.assert_close(clusters.centers, expected)


def test_a_batch_that_cannot_start_the_clusters_is_named() -> None:
    objective = built()
    assert objective.problems(3) == []
    assert "clusters = 3" in objective.problems(2)[0]
