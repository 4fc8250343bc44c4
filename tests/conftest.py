"""Settings of the whole test suite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.fixtures import make_set

# Tiny tensors gain nothing from threads, and lose much of them on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Manifests of 32 pictures and 20 sounds, both with captions."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        "pictures": make_set(folder / "pictures", columns=("image", "text"), rows=32),
        "sounds": make_set(folder / "sounds", columns=("audio", "text"), rows=20),
    }


@pytest.fixture(scope="session")
def trained(sets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one checkpoint: three tiny towers of the quickstart's kinds."""
    from mmcontrast.train import train
    from tests.small_run import run_of

    out = tmp_path_factory.mktemp("runs") / "small"
    train(run_of(sets, out, steps=2, ema={"decay": 0.5}))
    return out


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--full``: the fuzz tests' whole amount instead of a tenth."""
    parser.addoption("--full", action="store_true", help="fuzz ten times as much")
