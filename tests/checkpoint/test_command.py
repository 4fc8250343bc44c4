"""What ``mmcontrast checkpoint`` says and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mmcontrast.checkpoint import folder_name, load_model_state
from mmcontrast.cli import main
from tests.checkpoint.chain import saved_steps


def test_show_verify_and_consolidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_steps(tmp_path / "run/checkpoints", 3, keep=3)
    assert main(["checkpoint", "show", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [folder_name(step) for step in (1, 2, 3)]
    assert "loss 0.2000" in lines[2]
    assert main(["checkpoint", "verify", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.count("sound") == 3

    newest = tmp_path / "run/checkpoints" / folder_name(3)
    (newest / "model.safetensors").write_bytes(b"")
    assert main(["checkpoint", "verify", str(newest)]) == 2
    assert "model.safetensors has 0 bytes instead of" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="passed over"):
        assert main(["checkpoint", "consolidate", str(tmp_path / "run"), str(tmp_path / "w.safetensors")]) == 0
    expected = load_model_state(tmp_path / "run/checkpoints" / folder_name(2))
    with safe_open(tmp_path / "w.safetensors", "pt") as stream:
        assert stream.metadata()["step"] == "2"
        assert torch.equal(stream.get_tensor("weight"), expected["weight"])
    assert main(["checkpoint", "consolidate", str(newest.parent), str(tmp_path / "w.safetensors")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_nothing_there_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "show", str(tmp_path)]) == 2
    assert "no checkpoint under" in capsys.readouterr().err
    assert main(["checkpoint", "verify", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err
