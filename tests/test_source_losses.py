"""Losses by source: means over what each source gave, the same on any number of ranks and under every step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast import comm
from mmcontrast.source_losses import SourceLosses
from mmcontrast.train import train
from mmcontrast.types import RowLosses, Terms
from tests.dist.pool import on_ranks
from tests.small_run import run_of

VALUES = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
COUNTED = torch.tensor([True, True, False, True, True, True])
SOURCES = torch.tensor([0, 2, 2, 2, 0, 0])


def taken() -> dict[str, float]:
    losses = SourceLosses(("one", "two", "three"), per_step=False, device=torch.device("cpu"))
    mine = slice(3 * comm.rank(), 3 * comm.rank() + 3) if comm.world_size() > 1 else slice(0, 6)
    losses.add(Terms(torch.tensor(0.0), rows=RowLosses(VALUES[mine], COUNTED[mine])), SOURCES[mine])
    losses.add(Terms(torch.tensor(5.0)), SOURCES[mine])  # an objective without row losses: left out
    found = losses.taken()
    assert losses.taken() == {}
    return found


def test_means_are_over_counted_rows_of_a_source_and_over_all_ranks(tmp_path: Path) -> None:
    expected = {"source_loss/one": 49 / 3, "source_loss/three": 5.0}
    assert taken() == pytest.approx(expected)
    assert on_ranks(taken, 2, tmp_path) == [pytest.approx(expected)] * 2


def test_rows_of_several_losses_add_up_with_their_factors() -> None:
    one = RowLosses(torch.tensor([1.0, torch.nan]), torch.tensor([True, False]))
    two = RowLosses(torch.tensor([10.0, 20.0]), torch.tensor([False, True]))
    total = RowLosses.total([(2.0, one), (0.5, two)])
    assert total is not None and total.values.tolist() == [2.0, 10.0] and total.counted.all()
    assert RowLosses.total([]) is None


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("step", [{"type": "plain"}, {"type": "gradcache", "chunk_rows": 5}])
def test_sources_of_mixed_batches_average_to_the_loss(
    sets: dict[str, str], tmp_path: Path, step: dict[str, Any]
) -> None:
    objectives = {"main": {"type": "infonce", "pairs": [["image", "text"], ["audio", "text"]], "weights": [1.0, 3.0]}}
    log = {"every_steps": 1, "tensorboard": False}
    train(run_of(sets, tmp_path, steps=3, step=step, log=log, objectives=objectives))
    for row in rows_of(tmp_path):
        # Each pair is of one source here: the loss is the sum of the pairs' means.
        assert row["source_loss/pictures"] + row["source_loss/sounds"] == pytest.approx(row["loss"], rel=1e-5)
        assert row["source_loss/pictures"] == pytest.approx(row["main/image-text"], rel=1e-5)
        assert row["source_loss/sounds"] == pytest.approx(3 * row["main/audio-text"], rel=1e-5)


def test_a_batch_of_one_source_is_that_sources_loss(sets: dict[str, str], tmp_path: Path) -> None:
    sources = {name: {"manifest": sets[name], "weight": 2 if name == "pictures" else 1} for name in sets}
    data = {"batch_rows": 8, "workers": 0, "draw": "per_step", "sources": sources}
    objectives = {"main": {"type": "decoupled", "pair": ["image", "text"]}}  # gives no losses of rows
    train(run_of(sets, tmp_path, steps=6, data=data, log={"every_steps": 1, "tensorboard": False},
                 objectives=objectives))  # fmt: skip
    drawn = []
    for row in rows_of(tmp_path):
        (name,) = (key for key in row if key.startswith("source_loss/"))
        assert row[name] == pytest.approx(row["loss"])
        drawn.append(name)
    assert drawn.count("source_loss/pictures") == 4 and drawn.count("source_loss/sounds") == 2
