"""A trained model of three tiny towers, in a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcontrast.train import train
from tests.small_run import run_of


@pytest.fixture(scope="session")
def trained(sets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one checkpoint, of the quickstart's kinds of towers."""
    out = tmp_path_factory.mktemp("runs") / "small"
    train(run_of(sets, out, steps=2, ema={"decay": 0.5}))
    return out
