"""Laws that every registered objective keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mmcontrast.errors import NeedsError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.steps.gradcache import GradCache
from mmcontrast.steps.plain import Plain
from mmcontrast.types import Batch, Column, Embedded, Embeddings, Needs
from tests import tiny
from tests.contracts.objective_examples import OBJECTIVE_EXAMPLES

NAMES = list(OBJECTIVE_EXAMPLES)


def run(built: Any, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    built.zero_grad()
    loss = built("loss", built("embed", batch)).loss
    loss.backward()
    return float(loss.detach()), tiny.gradients(built)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    largest = max(float(value.abs().max()) for value in first.values())
    for name, value in first.items():
        # Relative to the largest gradient: float32 sums taken in another order.
        torch.testing.assert_close(second[name], value, atol=tolerance * max(largest, 1.0), rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_objective_has_an_example_a_weight_and_a_source(name: str) -> None:
    assert name in OBJECTIVE_EXAMPLES, f"add '{name}' to tests/contracts/objective_examples.py"
    assert hasattr(OBJECTIVE_EXAMPLES[name], "weight")
    assert "Source:" in OBJECTIVES.get(name).__doc__
    assert "Needs:" in OBJECTIVES.get(name).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_gradcache_has_the_gradients_of_plain_with_dropout_on(name: str) -> None:
    batch = tiny.batch()
    # One chunk of the whole batch draws the same dropout masks as the plain step.
    results = []
    for step in (Plain, GradCache):
        built = tiny.model(name).train()
        engine = tiny.engine(built)
        torch.manual_seed(7)
        config = step.Config() if step is Plain else step.Config(chunk_rows=len(batch))
        terms = step(config, engine=engine)(batch)
        results.append((float(terms.loss.detach()), tiny.gradients(built)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6, abs=1e-6)
    assert_same(results[0][1], results[1][1])


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_gradcache_in_chunks_has_the_gradients_of_plain(name: str, rows: int) -> None:
    batch, built = tiny.batch(), tiny.model(name).eval()
    loss, expected = run(built, batch)
    built.zero_grad()
    terms = GradCache(GradCache.Config(chunk_rows=rows), engine=tiny.engine(built))(batch)
    assert float(terms.loss.detach()) == pytest.approx(loss, rel=1e-6, abs=1e-6)
    assert_same(expected, tiny.gradients(built))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_objective_is_lowered_by_training_on_it(name: str) -> None:
    torch.manual_seed(0)
    batch, built = tiny.batch(24, present=1.0), tiny.model(name).eval()
    optimizer = torch.optim.AdamW([each for each in built.parameters() if each.requires_grad], lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = built("loss", built("embed", batch)).loss
        loss.backward()
        optimizer.step()
        built.after_step()
        losses.append(float(loss.detach()))
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < first - 0.02 * abs(first), f"{first:.4f} -> {last:.4f}"


@pytest.mark.parametrize("name", NAMES)
def test_rows_with_nothing_present_change_nothing(name: str) -> None:
    batch, built = tiny.batch(present=0.5), tiny.model(name).eval()
    empty = torch.zeros(3, dtype=torch.bool)
    longer = Batch(
        {
            key: Column(column.modality, column.values, torch.cat([column.present, empty]))
            for key, column in batch.columns.items()
        },
        {key: torch.cat([label, label[:3]]) for key, label in batch.labels.items()},
        [*batch.keys, "a", "b", "c"],
    )
    loss, expected = run(built, batch)
    other_loss, other = run(built, longer)
    assert loss == pytest.approx(other_loss, rel=1e-6, abs=1e-6)
    assert_same(expected, other)


def test_chunks_hold_each_present_cell_once() -> None:
    batch = tiny.batch(present=0.5)
    for column in batch.columns.values():
        assert len(column.values) == int(column.present.sum())
    parts = batch.chunks(5)
    for key, column in batch.columns.items():
        again = torch.cat([part.columns[key].values for part in parts])
        assert torch.equal(again, column.values)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    batch, built = tiny.batch(), tiny.model(name).eval()
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(3))
    columns = {}
    for key, column in batch.columns.items():
        places = (column.present.cumsum(0) - 1)[order][column.present[order]]
        columns[key] = Column(column.modality, column.values[places], column.present[order])
    shuffled = Batch(
        columns,
        {key: label[order] for key, label in batch.labels.items()},
        [batch.keys[index] for index in order],
    )
    loss, expected = run(built, batch)
    other_loss, other = run(built, shuffled)
    assert loss == pytest.approx(other_loss, abs=1e-5, rel=1e-5)
    assert_same(expected, other, tolerance=1e-5)


@pytest.mark.parametrize("present", [0.0, 1.0])
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("name", NAMES)
def test_one_row_or_no_present_row_is_finite(name: str, rows: int, present: float) -> None:
    built = tiny.model(name).train()
    loss, grads = run(built, tiny.batch(rows, present=present))
    assert torch.isfinite(torch.tensor(loss))
    assert all(torch.isfinite(grad).all() for grad in grads.values())


@pytest.mark.parametrize("name", NAMES)
def test_towers_in_bfloat16_give_a_finite_loss_in_float32(name: str) -> None:
    built = tiny.model(name).train()
    engine = tiny.engine(built, precision="bf16")
    terms = Plain(Plain.Config(), engine=engine)(tiny.batch())
    assert terms.loss.dtype == torch.float32 and torch.isfinite(terms.loss)
    assert all(torch.isfinite(grad).all() for grad in tiny.gradients(built).values())


@pytest.mark.parametrize("name", NAMES)
def test_needs_are_all_that_is_read(name: str) -> None:
    built = tiny.model(name).eval()
    objective, needs = built.objectives["main"], built.needs
    emb = built("embed", tiny.batch(present=1.0))

    def used(allowed: Needs) -> torch.Tensor:
        loss = objective(emb.limited(allowed)).loss
        objective.after_step(emb.limited(allowed))
        return loss

    assert torch.isfinite(used(needs))
    for field in ("embeddings", "tokens", "labels", "teacher", "momentum", "inputs"):
        for each in getattr(needs, field):
            fewer = replace(needs, **{field: tuple(other for other in getattr(needs, field) if other != each)})
            with pytest.raises(NeedsError):
                used(fewer)


@pytest.mark.parametrize("name", NAMES)
def test_state_moves_after_the_step_and_never_in_forward(name: str) -> None:
    built = tiny.model(name).train()
    before = {key: value.clone() for key, value in built.state_dict().items()}
    run(built, tiny.batch())
    for key, value in built.state_dict().items():
        assert torch.equal(value, before[key]), key
    built.after_step()
    # What moved is in the state: a model that takes it over goes on the same way.
    other = tiny.model(name, seed=1).train()
    other.load_state_dict(built.state_dict())
    for each in (built, other):
        each.eval()
    batch = tiny.batch(seed=1)
    assert run(built, batch)[0] == run(other, batch)[0]


def test_reading_something_undeclared_raises() -> None:
    z = torch.zeros(2, 4)
    emb = Embeddings({"image": Embedded(z, torch.ones(2, dtype=torch.bool))}, {"group": torch.zeros(2)}, ["a", "b"])
    with pytest.raises(NeedsError, match="not declared"):
        emb.limited(Needs(embeddings=())).__getitem__("image")
    with pytest.raises(NeedsError, match="not declared"):
        emb.limited(Needs(embeddings=("image",))).label("group")
