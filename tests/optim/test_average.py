"""The moving average of the weights: its formula, under every engine, through checkpoints, and out of harm's way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from mmcontrast.checkpoint import load_model_state
from mmcontrast.cli import main
from mmcontrast.errors import CheckpointError
from mmcontrast.evaluate.encoder import load_encoder
from mmcontrast.optim.average import AverageConfig
from mmcontrast.run import Run
from mmcontrast.train import train
from tests.engines.test_replicated import build, updates
from tests.small_run import run_of
from tests.test_guard import poisoned

EMA = {"decay": 0.9, "every_steps": 2}


def averaged(sets: dict[str, str], out: Path, **fields: Any) -> Run:
    return run_of(sets, out, **{"ema": EMA, "checkpoint": {"every_steps": 3, "keep": 9}, **fields})


def states(folder: Path, step: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of a checkpoint and their average."""
    path = folder / f"checkpoints/step-{step:08d}"
    return load_model_state(path), load_model_state(path, weights="ema")


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_share_kept_rises_to_the_decay_and_counts_every_update() -> None:
    ema = AverageConfig(decay=0.5, every_steps=1)
    shares = [ema.keep(step) for step in range(12)]
    assert shares == pytest.approx([min(0.5, (2 + step) / (11 + step)) for step in range(12)])
    assert shares[0] == pytest.approx(2 / 11) and shares[-1] == 0.5
    thinned = AverageConfig(decay=0.9, warmup=False, every_steps=3)
    assert [thinned.keep(step) for step in range(6)] == [None, None, 0.9**3, None, None, 0.9**3]


def test_the_average_of_a_run_is_that_of_its_weights(sets: dict[str, str], tmp_path: Path) -> None:
    run = averaged(sets, tmp_path / "run", steps=6, checkpoint={"every_steps": 1, "keep": 9})
    train(run)
    assert run.ema is not None
    # Moves after updates 2, 4 and 6, in plain arithmetic; the first copies.
    expected, _ = states(tmp_path / "run", 2)
    for step in (4, 6):
        weights, keep = load_model_state(tmp_path / f"run/checkpoints/step-{step:08d}"), run.ema.keep(step - 1)
        assert keep is not None
        expected = {
            name: keep * value + (1 - keep) * weights[name] if value.is_floating_point() else weights[name]
            for name, value in expected.items()
        }
    weights, found = states(tmp_path / "run", 6)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)
    assert not equal(found, weights)
    with pytest.raises(CheckpointError, match="holds no ema.safetensors"):
        states(tmp_path / "run", 1)


def test_an_interrupted_run_has_the_same_average_bit_for_bit(sets: dict[str, str], tmp_path: Path) -> None:
    train(averaged(sets, tmp_path / "whole"))
    parts = averaged(sets, tmp_path / "parts")
    train(parts)
    shutil.rmtree(tmp_path / "parts/checkpoints/step-00000008")  # as if cut off after the checkpoint of step 6
    train(parts)
    for expected, found in zip(states(tmp_path / "whole", 8), states(tmp_path / "parts", 8), strict=True):
        assert equal(found, expected)


@pytest.mark.parametrize("action", ["skip", "rollback"])
def test_a_step_that_is_not_kept_does_not_move_the_average(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    run = averaged(sets, tmp_path / "run", guard={"on_nonfinite": action}, ema={"decay": 0.9, "warmup": False},
                   checkpoint={"every_steps": 1, "keep": 20})  # fmt: skip
    with poisoned(monkeypatch, 5):  # the sixth batch
        train(run)
    before, after = states(tmp_path / "run", 5), states(tmp_path / "run", 6)
    if action == "skip":  # step 6 is the bad batch, left out
        assert equal(before[1], after[1])
    else:  # step 6 is the batch after it
        for name, value in before[1].items():
            if value.is_floating_point():
                torch.testing.assert_close(after[1][name], value.lerp(after[0][name], 0.1), atol=1e-6, rtol=1e-5)
    assert all(value.isfinite().all() for value in states(tmp_path / "run", 8)[1].values())


def test_what_is_not_trained_is_not_averaged() -> None:
    engine = build("local")
    for parameter in engine.model.towers["image"].parameters():
        parameter.requires_grad_(False)
    updates(engine, "plain", range(2))
    engine.average(keep=0.5)
    names = {name.removeprefix("ema/") for name in engine.training_state() if name.startswith("ema/")}
    assert names == {name for name, parameter in engine.model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("towers.image") for name in names)


def test_a_tied_weight_is_averaged_under_each_of_its_names() -> None:
    engine = build("local")
    head = engine.model.heads["text"]
    head.register_parameter("again", head.layer.weight)  # type: ignore[arg-type]
    engine.average(keep=0.5)
    state = engine.training_state()
    assert torch.equal(state["ema/heads.text.again"], state["ema/heads.text.layer.weight"])


def test_encoders_and_files_are_made_of_either(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(averaged(sets, run))
    words = ["a red square", "a blue square"]
    raw, ema = (load_encoder(run, weights=weights) for weights in ("raw", "ema"))  # type: ignore[arg-type]
    assert not torch.equal(raw.encode("text", words), ema.encode("text", words))
    assert raw.identity != ema.identity  # caches of embeddings keep them apart
    assert main(["checkpoint", "show", str(run)]) == 0
    assert capsys.readouterr().out.count("moving average") == 3
    assert main(["checkpoint", "consolidate", str(run), str(tmp_path / "e.safetensors"), "--weights", "ema"]) == 0
    assert "moving average of the weights of" in capsys.readouterr().out
    with safe_open(tmp_path / "e.safetensors", "pt") as stream:
        assert stream.metadata()["weights"] == "ema"
        for name, value in states(run, 8)[1].items():
            assert torch.equal(stream.get_tensor(name), value)


def test_a_run_without_an_average_is_told_so(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(run_of(sets, tmp_path / "run", steps=1))
    assert main(["eval", "run", str(tmp_path / "run"), "--weights", "ema"]) == 2
    assert "averages no weights (its field ema)" in capsys.readouterr().err
    assert main(["eval", "run", "open_clip:ViT-B-32:none.pt", "--weights", "ema"]) == 2
    assert "has one set of weights" in capsys.readouterr().err
