"""What every registered objective does with input that is wrong or says nothing."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.errors import ConfigError, NeedsError
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.model import spaces_of
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.run import Run, check_needs, check_objectives, load_run
from mmcontrast.types import Column, Embedded, Embeddings, Needs, Tokens
from tests.contracts.objective_examples import CURVED, OBJECTIVE_EXAMPLES

ROOT = Path(__file__).parent.parent.parent
NAMES = list(OBJECTIVE_EXAMPLES)
ROWS, DIM, TOKENS = 6, 8, 4  # tokens: a grid of two by two, of pictures of 8 pixels
KINDS = ("embeddings", "tokens", "labels", "teacher", "momentum", "inputs")


class Wide:
    """A tower's widths, for objectives that read tokens."""

    width = token_width = DIM


def built(name: str) -> tuple[Objective, Any]:
    """An objective whose queues and clusters are filled, and the geometry it lives in."""
    torch.manual_seed(0)
    geometry = GEOMETRIES.build(CURVED.get(name, Sphere.Config()))
    objective: Objective = OBJECTIVES.build(OBJECTIVE_EXAMPLES[name])
    objective.attach(spaces_of(geometry, DIM, {each: Wide for each in ("image", "audio", "text")}, teacher_dim=DIM))
    objective.after_step(seen(objective, geometry).detached().limited(objective.needs()))
    return objective, geometry


def seen(objective: Objective, geometry: Any, *, seed: int = 0) -> Embeddings:
    """Random embeddings of all that it reads, every cell present."""
    generator = torch.Generator().manual_seed(seed)
    needs, present = objective.needs(), torch.ones(ROWS, dtype=torch.bool)

    def column(name: str, *, leaf: bool = False) -> Embedded:
        z = geometry.project(torch.randn(ROWS, DIM, generator=generator)).detach()
        tokens = Tokens(torch.randn(ROWS, TOKENS, DIM, generator=generator), torch.ones(ROWS, TOKENS).bool())
        return Embedded(z.requires_grad_(leaf), present, tokens if name in needs.tokens else None)

    def cells(name: str) -> Tensor:
        if name.startswith("image"):
            return torch.randint(0, 256, (ROWS, 3, 8, 8), generator=generator, dtype=torch.uint8)
        return torch.randint(1, 9, (ROWS, TOKENS), generator=generator)

    return Embeddings(
        {name: column(name, leaf=True) for name in sorted({*needs.embeddings, *needs.tokens})},
        {name: label(name, generator) for name in needs.labels},
        [str(row) for row in range(ROWS)],
        needs,
        taught={name: column(name) for name in needs.teacher},
        averaged={name: column(name) for name in needs.momentum},
        inputs={name: Column(name, cells(name), present) for name in needs.inputs},
    )


def label(name: str, generator: torch.Generator) -> Tensor:
    if name == "nouns":
        return torch.randint(0, 7, (ROWS, 3), generator=generator)
    if name.endswith(".box"):
        return torch.rand(ROWS, 5, generator=generator) / 2
    if name == "group":
        return torch.tensor([0, 1, 0, 2, 1, -1])
    return torch.randint(0, 4, (ROWS,), generator=generator).float()


def assert_finite(objective: Objective, emb: Embeddings) -> None:
    loss = objective(emb).loss
    loss.backward()
    assert torch.isfinite(loss)
    for column in emb.columns.values():
        assert column.z.grad is None or torch.isfinite(column.z.grad).all()
    assert all(torch.isfinite(each.grad).all() for each in objective.parameters() if each.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_equal_captions_of_one_group_give_a_finite_loss(name: str) -> None:
    objective, geometry = built(name)
    emb = seen(objective, geometry)
    for table in (emb.columns, emb.taught, emb.averaged):
        for column in (each for key, each in table.items() if key.startswith("text")):
            column.z.data[:] = column.z.data[0]
    for values in (each for key, each in emb.labels.items() if key == "group"):
        values[:] = 3
    for column in emb.inputs.values():
        column.values[:] = column.values[0]
    assert_finite(objective, emb)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_batch_of_one_embedding_gives_a_finite_loss(name: str) -> None:
    objective, geometry = built(name)
    emb = seen(objective, geometry)
    one = geometry.project(normalize(torch.ones(1, DIM), dim=1))
    for table in (emb.columns, emb.taught, emb.averaged):
        for column in table.values():
            column.z.data[:] = one
    assert_finite(objective, emb)


@pytest.mark.parametrize("name", NAMES)
def test_rows_without_labels_give_a_finite_loss(name: str) -> None:
    objective, geometry = built(name)
    emb = seen(objective, geometry)
    for values in emb.labels.values():  # what the loader puts where a source has no such label
        values.fill_(0 if values.is_floating_point() else -1)
    assert_finite(objective, emb)


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_is_not_hidden(name: str) -> None:
    objective, geometry = built(name)
    emb = seen(objective, geometry)
    for column in emb.columns.values():
        column.z.data[0] = torch.nan
        if column.tokens is not None:
            column.tokens.values[0] = torch.nan
    # The run's guard acts on losses that are not finite: it names the step and the rows.
    assert not torch.isfinite(objective(emb).loss)


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(ROOT / "configs/smoke/quickstart_tiny.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_check_names_every_column_and_label_that_nothing_provides(name: str, run: Run) -> None:
    config = OBJECTIVE_EXAMPLES[name]
    needs = OBJECTIVES.build(config).needs()
    unknown = Needs(**{kind: tuple(f"{each}.unknown" for each in getattr(needs, kind)) for kind in KINDS})
    with pytest.raises(NeedsError) as caught:
        check_needs({"main": unknown}, replace(run, objectives={"main": config}))
    for each in unknown.columns:
        assert f"'main' ({config.registry_name}) reads column '{each}', which no source provides" in str(caught.value)
    for each in unknown.labels:
        assert f"reads the label '{each}', which no source provides" in str(caught.value)
    assert ("teacher is null" in str(caught.value)) == bool(needs.teacher)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_the_batch_lacks_is_named(name: str) -> None:
    objective, geometry = built(name)
    emb = seen(objective, geometry)
    for each in objective.needs().labels:
        fewer = {key: values for key, values in emb.labels.items() if key != each}
        with pytest.raises(NeedsError, match=f"label '{each}' is not in the batch"):
            objective(replace(emb, labels=fewer))


SIZED = [
    name
    for name in OBJECTIVES.names()
    if {"queue", "clusters"} & {each.name for each in fields(OBJECTIVE_EXAMPLES[name])}
]


@pytest.mark.parametrize("name", SIZED)
def test_check_refuses_a_queue_smaller_than_the_batch_and_more_clusters_than_rows(name: str, run: Run) -> None:
    example = OBJECTIVE_EXAMPLES[name]
    rows = run.data.batch_rows
    small = replace(example, queue=rows - 1) if hasattr(example, "queue") else replace(example, clusters=rows + 1)
    objectives = {"main": OBJECTIVES.build(small)}
    with pytest.raises(ConfigError, match=rf"objectives\.main: {name}: (queue|clusters) = "):
        check_objectives(replace(run, objectives={"main": small}), objectives)


def test_there_are_objectives_with_queues_and_clusters() -> None:
    assert SIZED == ["cluster_negatives", "cross_batch_memory", "esimcse", "momentum_contrast"]
