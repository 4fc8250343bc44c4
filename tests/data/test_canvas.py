"""Pictures and sounds that are made in their places of a batch are those that would be stacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.data import loader
from mmcontrast.data.canvas import Canvas, SoundCanvas, canvases
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.types import Batch
from tests.data.damage import overwrite
from tests.data.test_loader import SPECS
from tests.fixtures import make_set


def batches(config: DataConfig) -> list[Batch]:
    run = Loader(config, seed=1, specs={**SPECS, "audio.view2": SPECS["audio"]})
    run.seek(0, last=3)
    return [each.batch for each in run]


@pytest.mark.parametrize("draw", ["per_step", "per_row"])
def test_batches_are_the_same_with_places_and_without(
    draw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = make_set(tmp_path / "both", columns=("image", "audio", "text"), rows=20)
    overwrite(both, (2, 7, 11), "wav")  # rows that others replace, in the same place
    sounds = make_set(tmp_path / "sounds", columns=("audio", "text"), rows=11)
    derive = {"audio.view2": {"type": "view", "of": "audio"}}
    sources = {
        "both": {"manifest": both, "audio": {"gain_db": 6.0}, "derive": derive},
        "sounds": {"manifest": sounds, "audio": {"shift": 0.3}},
    }
    config = parse(DataConfig, {"sources": sources, "batch_rows": 8, "workers": 0, "draw": draw})
    placed = batches(config)
    monkeypatch.setattr(loader, "canvases", lambda *_, **__: {})
    for found, expected in zip(placed, batches(config), strict=True):
        assert found.keys == expected.keys
        for name, column in expected.columns.items():
            assert torch.equal(found.columns[name].values, column.values)
            assert torch.equal(found.columns[name].present, column.present)


def test_places_are_for_columns_that_every_row_has() -> None:
    found = canvases(SPECS, rows=4, everywhere={"audio", "text"})
    assert {name: type(each) for name, each in found.items()} == {"image": Canvas, "audio": SoundCanvas}
    assert "audio" not in canvases(SPECS, rows=4, everywhere={"text"})


def test_sounds_that_lie_elsewhere_are_not_mistaken_for_those_in_their_places() -> None:
    canvas = SoundCanvas(2, 5)
    cells = []
    for canvas.row in range(2):
        cells.append(canvas.kept(np.full(5, canvas.row, np.float32)))
    whole = canvas.filled(cells)
    assert whole is not None and whole[:, 0].tolist() == [0, 1]
    assert canvas.filled(cells[::-1]) is None and canvas.filled(cells[:1]) is None
    assert SoundCanvas(2, 5).filled(cells) is None
