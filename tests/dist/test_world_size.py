"""A checkpoint of two ranks goes on on one, and of one on two: the same samples, the same losses up to rounding."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.checkpoint import Weights, load_model_state
from mmcontrast.config import dump
from mmcontrast.run import Run
from mmcontrast.train import train
from tests.dist.pool import on_ranks
from tests.small_run import losses, run_of, tree


def run_on(world_size: int, run: Run, folder: Path) -> None:
    """Train on so many ranks."""
    if world_size == 1:
        train(run)
        return
    folder.mkdir()
    on_ranks(train_step, world_size, folder, run)


def train_step(run: Run) -> int:
    """One rank's call; the number of steps done."""
    return train(run).step


def without_draws(sets: dict[str, str], out: Path, engine: dict[str, Any]) -> Run:
    fields = tree(sets, out)
    fields["model"]["towers"]["text"]["dropout"] = 0.0
    fields["model"]["towers"]["audio"] |= {"mask_mels": 0, "mask_frames": 0}
    return run_of(sets, out, model=fields["model"], engine=engine, checkpoint={"every_steps": 4},
                  ema={"decay": 0.9}, log={"every_steps": 1, "tensorboard": False})  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [(2, 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 2), (2, 4)))])
def test_a_run_goes_on_on_another_number_of_ranks(
    sets: dict[str, str], tmp_path: Path, before: int, after: int
) -> None:
    ddp: dict[str, Any] = {"type": "ddp", "device": "cpu"}
    engines: dict[int, dict[str, Any]] = {1: {"type": "local", "device": "cpu"}, 2: ddp, 4: ddp}
    whole = without_draws(sets, tmp_path / "whole", engines[1])
    run_on(1, whole, tmp_path)
    run_on(before, without_draws(sets, tmp_path / "parts", engines[before]), tmp_path / "first")
    shutil.rmtree(tmp_path / "parts/checkpoints/step-00000008")
    run_on(after, without_draws(sets, tmp_path / "parts", engines[after]), tmp_path / "second")
    expected, found = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert sorted(found) == list(range(1, 9))
    assert found == pytest.approx(expected, rel=1e-5)
    which: Weights
    for which in ("raw", "ema"):
        weights, whole_weights = (last_weights(tmp_path / name, which) for name in ("parts", "whole"))
        for name, value in whole_weights.items():
            # Adam divides by the root of the second moment: a small gradient's rounding shows in the weight.
            torch.testing.assert_close(weights[name], value, atol=1e-3, rtol=1e-3, msg=name)


def last_weights(folder: Path, which: Weights) -> dict[str, torch.Tensor]:
    """Of the checkpoint after eight steps."""
    return load_model_state(folder / "checkpoints/step-00000008", weights=which)


def torchrun(run: Run, folder: Path, *, ranks: int = 2) -> str:
    """``mmcontrast train`` on so many ranks as a user starts it; what they said."""
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(run))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
               "-m", "mmcontrast", "train", str(folder / "config.yaml")]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.mark.slow
def test_stage_3_under_torchrun_goes_on_under_itself_and_under_ddp_on_two_ranks_and_on_one(
    sets: dict[str, str], tmp_path: Path
) -> None:
    def run(name: str, engine: dict[str, Any]) -> Run:
        return without_draws(sets, tmp_path / name, {"device": "cpu", **engine})

    zero = {"type": "deepspeed", "stage": 3, "persist_elements": 0}
    train(run("whole", {"type": "local"}))
    expected = losses(tmp_path / "whole")
    said = torchrun(run("zero", zero), tmp_path / "first")
    assert losses(tmp_path / "zero") == pytest.approx(expected, rel=1e-5)
    assert "Warning" not in said, said
    ddp = {"type": "ddp"}
    # Another order of samples would give other losses: batches here differ by far more than 1e-5.
    assert min(abs(first - second) for first, second in pairwise(expected.values())) > 1e-3
    for name, engine, ranks in [("again", zero, 2), ("ddp", ddp, 2), ("alone", ddp, 1)]:
        shutil.copytree(tmp_path / "zero", tmp_path / name)
        shutil.rmtree(tmp_path / name / "checkpoints/step-00000008")
        (tmp_path / name / "metrics.jsonl").unlink()
        torchrun(run(name, engine), tmp_path / f"{name}-files", ranks=ranks)
        later = {step: loss for step, loss in expected.items() if step > 4}
        assert losses(tmp_path / name) == pytest.approx(later, rel=1e-5)
    which: Weights
    for which in ("raw", "ema"):
        before, after = (last_weights(tmp_path / name, which) for name in ("zero", "again"))
        assert all(torch.equal(after[name], value) for name, value in before.items())
