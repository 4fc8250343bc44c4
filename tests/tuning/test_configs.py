"""The shipped configs that start from a run do so, on the shipped data, with towers of a test's size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcontrast.checkpoint import load_model_state, newest
from mmcontrast.config import merge, parse, read_tree
from mmcontrast.run import Run
from mmcontrast.train import train

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the quickstart with tiny towers."""
    out = tmp_path_factory.mktemp("first")
    tree = merge(read_tree(CONFIGS / "smoke/quickstart_tiny.yaml"), {"out": str(out), "steps": 1, "threads": 1})
    train(parse(Run, tree))
    return out


@pytest.mark.parametrize(
    ("name", "still", "moves"),
    [
        ("lit", ("towers.image.", "towers.audio."), ("towers.text.", "heads.")),
        ("lora", ("towers.image.stem", "towers.audio.", "towers.text.embed"), ("towers.image.stages.1", "heads.")),
        ("sparse_codes", ("towers.", "heads."), ()),
    ],
)
def test_a_config_of_posttrain_runs(
    name: str, still: tuple[str, ...], moves: tuple[str, ...], first: Path, tmp_path: Path
) -> None:
    tree = merge(read_tree(CONFIGS / f"posttrain/{name}.yaml"), read_tree(CONFIGS / "smoke/quickstart_tiny.yaml"))
    tree = merge(tree, {"out": str(tmp_path), "steps": 2, "threads": 1, "optimizer": {"lr": 0.01}})
    tree["objectives"] = read_tree(CONFIGS / f"posttrain/{name}.yaml")["objectives"]
    for fields in tree["model"]["training"].values():
        fields["weights"] = str(first)
    train(parse(Run, tree))
    before, after = (
        load_model_state(path) for path in (newest(first / "checkpoints"), newest(tmp_path / "checkpoints")) if path
    )
    same = {key for key, value in before.items() if key in after and torch.equal(value, after[key])}
    changed = {key for key, value in before.items() if key in after} - same
    assert all(any(key.startswith(prefix) for key in same) for prefix in still)
    assert not any(key.startswith(still) for key in changed)
    assert all(any(key.startswith(prefix) for key in changed) for prefix in moves)
    assert any(".lora_" in key for key in after) == (name == "lora")
    assert any(key.startswith("objectives.codes.") for key in after) == (name == "sparse_codes")
