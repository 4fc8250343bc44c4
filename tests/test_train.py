"""The train loop: it learns, resumes bit for bit, stops on a signal, and refuses what cannot work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mmcontrast import checkpoint
from mmcontrast.checkpoint import load_model_state, newest
from mmcontrast.cli import main
from mmcontrast.config import dump
from mmcontrast.errors import CheckpointError, Diverged, LaunchError, RunFolderError
from mmcontrast.evaluate.encoder import load_encoder
from mmcontrast.run_folder import check_ranks_agree, versions
from mmcontrast.train import train
from tests.small_run import losses, run_of, tree


@pytest.mark.parametrize("step", [{"type": "plain"}, {"type": "gradcache", "chunk_rows": 5}])
def test_an_interrupted_run_resumes_bit_for_bit(sets: dict[str, str], tmp_path: Path, step: dict[str, Any]) -> None:
    whole = train(run_of(sets, tmp_path / "whole", step=step))
    first = run_of(sets, tmp_path / "parts", step=step, checkpoint={"every_steps": 3})
    # Cut the run after its checkpoint of step 6, as a crash would.
    train(first)
    for path in (tmp_path / "parts/checkpoints").glob("step-*8"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    assert newest(tmp_path / "parts/checkpoints") == tmp_path / "parts/checkpoints/step-00000006"
    again = train(first)
    assert again.step == whole.step == 8
    expected, found = load_model_state(whole.checkpoint), load_model_state(again.checkpoint)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert losses(tmp_path / "parts")[8] == losses(tmp_path / "whole")[8]


def test_a_run_learns_and_its_encoder_gives_what_the_model_gives(sets: dict[str, str], tmp_path: Path) -> None:
    done = train(run_of(sets, tmp_path / "run", steps=40))
    history = losses(tmp_path / "run")
    assert history[40] < 0.8 * history[1]
    encoder = load_encoder(tmp_path / "run")
    z = encoder.encode("text", ["a red square", "a blue square", "a red square"])
    assert z.shape == (3, 8)
    torch.testing.assert_close(z[0], z[2])
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3))
    assert done.exit_code == 0


def test_a_finished_run_is_left_as_it_is(sets: dict[str, str], tmp_path: Path) -> None:
    run = run_of(sets, tmp_path / "run", steps=2)
    first = train(run)
    before = (first.checkpoint / "MANIFEST.json").read_bytes()
    assert train(run).step == 2
    assert (first.checkpoint / "MANIFEST.json").read_bytes() == before


def test_a_checkpoint_of_other_packages_is_gone_on_from_and_said(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(sets, tmp_path / "run", steps=1)
    train(run)
    monkeypatch.setattr("mmcontrast.progress.versions", lambda: {**versions(), "torch": "9.9"})
    assert train(run).step == 1
    said = f"written with torch {versions()['torch']}, this run has 9.9: it goes on, but not bit for bit"
    assert capsys.readouterr().out.count(said) == 1


def test_ranks_of_other_packages_or_another_config_are_one_message_on_every_rank(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(sets, tmp_path / "run")
    check_ranks_agree(run)

    def gathered(content: bytes) -> list[bytes]:
        other = {**json.loads(content), "torch": "9.9"}
        third = {**other, "optimizer.lr": 0.5, "new.field": 1}
        return [content, json.dumps(other).encode(), json.dumps(third).encode()]

    monkeypatch.setattr("mmcontrast.comm.gather_bytes", gathered)
    with pytest.raises(LaunchError) as caught:
        check_ranks_agree(run)
    message = str(caught.value)
    assert f"rank 1, 2: torch is '9.9', on rank 0 '{versions()['torch']}'" in message
    assert (
        "rank 2: optimizer.lr is 0.5, on rank 0 0.01" in message
        and "rank 2: new.field is 1, on rank 0 None" in message
    )
    assert caught.value.on_every_rank and caught.value.exit_code == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "manifest"])
def test_a_damaged_checkpoint_is_passed_over_by_name(sets: dict[str, str], tmp_path: Path, damage: str) -> None:
    train(run_of(sets, tmp_path / "run", checkpoint={"every_steps": 4}))
    latest = tmp_path / "run/checkpoints/step-00000008"
    file = latest / ("MANIFEST.json" if damage == "manifest" else "model.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif damage == "missing":
        file.unlink()
    else:
        file.write_bytes(bytes(content[: len(content) // 2]))
    with pytest.warns(UserWarning, match="step-00000008' is passed over"):
        assert newest(tmp_path / "run/checkpoints") == tmp_path / "run/checkpoints/step-00000004"
    with pytest.raises(CheckpointError):
        checkpoint.find(latest)


def test_another_config_does_not_enter_the_folder(sets: dict[str, str], tmp_path: Path) -> None:
    train(run_of(sets, tmp_path / "run", steps=2))
    with pytest.raises(RunFolderError, match=r"optimizer\.lr: 0\.01 there, 0\.02 here"):
        train(run_of(sets, tmp_path / "run", steps=2, optimizer={"type": "adamw", "lr": 0.02}))
    train(run_of(sets, tmp_path / "run", steps=2, log={"every_steps": 1, "tensorboard": False}))


def test_divergence_names_the_step_and_keeps_nothing_of_it(sets: dict[str, str], tmp_path: Path) -> None:
    run = run_of(sets, tmp_path / "run", spike_limit=0.001, checkpoint={"every_steps": 1})
    with pytest.raises(Diverged, match="step 0: loss .* First rows of its batch: "):
        train(run)
    assert newest(tmp_path / "run/checkpoints") is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_saves_and_the_same_command_goes_on(
    sets: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump(run_of(sets, tmp_path / "run", steps=100_000, data={
        **tree(sets, tmp_path)["data"], "workers": 1})))  # fmt: skip
    command = [sys.executable, "-m", "mmcontrast", "train", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for _ in range(600):
        if (tmp_path / "run/metrics.jsonl").is_file() and len(losses(tmp_path / "run")) > 1:
            break
        time.sleep(0.1)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "the same command resumes" in output and "Traceback" not in output
    assert newest(tmp_path / "run/checkpoints") is not None


BROKEN = {
    "key": ({"optimiser": {}}, "optimiser: no such key. Did you mean 'optimizer'?"),
    "type": ({"steps": "many"}, "steps: expected"),
    "tower": ({"model": {"towers": {"image": {"type": "small_resnot"}}}}, "Did you mean 'small_resnet'?"),
    "modality": ({"model": {"towers": {"audio": {"type": "small_resnet"}}}}, "encodes image, not audio"),
    "manifest": ({"data": {"batch_rows": 4, "sources": {"x": {"manifest": "nowhere"}}}}, "no manifest at 'nowhere'"),
    "sources": ({"data": {"batch_rows": 4, "sources": {}}}, "data.sources: empty"),
    "column": (
        {"objectives": {"main": {"type": "infonce", "pairs": [["image", "text.swapped"]]}}},
        "reads column 'text.swapped', which no source provides",
    ),
    "no tower": (
        {"model": {"towers": {"text": {"type": "ngram_text"}, "image": {"type": "small_resnet"}}}},
        "model.towers has no tower for audio",
    ),
    "group": (
        {"objectives": {"main": {"type": "infonce", "pairs": [["image", "text"]], "group": "kind"}}},
        "reads the label 'kind', which no source provides. They provide: group. Set data.sources.X.labels.kind",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_users_mistake_is_one_message_and_exit_code_2(
    sets: dict[str, str], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmcontrast.config import _Dumper  # the writer that load() reads back

    fields, message = BROKEN[name]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.dump(tree(sets, tmp_path / "run", **fields), Dumper=_Dumper))
    assert main(["train", str(config)]) == 2
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown
    assert not (tmp_path / "run/checkpoints").exists()


def test_an_unwritable_run_folder_is_said_at_once(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "config.yaml"
    config.write_text(dump(run_of(sets, tmp_path / "file" / "run")))
    assert main(["train", str(config)]) == 2
    assert "cannot write to the run folder" in capsys.readouterr().err


def test_print_config_reads_back_to_itself(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump(run_of(sets, tmp_path / "run")))
    assert main(["train", str(config), "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "again.yaml").write_text(printed)
    assert main(["train", str(tmp_path / "again.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert not (tmp_path / "run").exists()
