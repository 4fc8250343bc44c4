"""The command: whole or not at all, and every mistake answered with what would have worked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcontrast.cli import main
from mmcontrast.export.formats.safetensors import Safetensors
from mmcontrast.export.part import Part


def test_what_was_written_is_printed(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained), "--tower", "image,text", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "largest difference" in printed and "captions of several lengths" in printed and "audio" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tower", "video"], "has no video tower; it has: audio, image, text"),
        (["--format", "safetensor"], "Did you mean 'safetensors'?"),
        (["--dtype", "int4"], "'int4' is none of fp32, fp16, bf16, int8"),
    ],
)
def test_mistakes_are_answered_and_leave_nothing(
    trained: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained), str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained), str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_an_export_that_computes_something_else_fails_and_leaves_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Safetensors.write

    def wrong(self: Safetensors, part: Part, folder: Path, *, dtype: str) -> None:
        with torch.no_grad():
            part.head("text").layer.weight[0] += 0.01
        whole(self, part, folder, dtype=dtype)  # type: ignore[arg-type]
        with torch.no_grad():
            part.head("text").layer.weight[0] -= 0.01

    monkeypatch.setattr(Safetensors, "write", wrong)
    assert main(["export", str(trained), str(tmp_path / "out")]) == 2
    assert "computes something else than the model; nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
