"""Embedding a source: the same vectors in any number of parts and tries, and bad rows that are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from PIL import Image

import mmcontrast
from mmcontrast.cli import main
from mmcontrast.export.embedded import read_embeddings


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two pictures, one of them with a sound and a text, and a file that is no picture."""
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (20, 30), (200, 30, 30)).save(folder / "red.png")
    Image.new("RGB", (9, 9), (30, 30, 200)).save(folder / "below" / "blue.jpg")
    soundfile.write(folder / "red.wav", 0.3 * np.sin(np.arange(3000) * 0.2), 8000)
    (folder / "red.txt").write_text("a red square\n", encoding="utf-8")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_a_folder_of_files_becomes_vectors_with_bad_rows_named(trained: Path, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["embed", str(files), "--model", str(trained), "--out", str(out), "--text-field", "text"]
    assert main(command) == 0
    found = read_embeddings(out)
    assert found["keys"] == ["below/blue", "broken", "red"]
    assert found["image"][1].tolist() == [True, False, True] and found["audio"][1].tolist() == [False, False, True]
    encoder = mmcontrast.load(trained, device="cpu")
    assert torch.allclose(found["image"][0][2], encoder.encode(image=files / "red.png"), atol=1e-6)
    assert torch.allclose(found["audio"][0][2], encoder.encode(audio=files / "red.wav"), atol=1e-6)
    assert torch.allclose(found["text"][0][2], encoder.encode(text="a red square"), atol=1e-6)
    assert not found["image"][0][1].any()
    table = pyarrow.parquet.read_table(out / "part-00000.parquet").to_pydict()
    assert table["error"][0] is None and table["error"][2] is None and table["error"][1].startswith("image: ")


def test_a_run_that_broke_off_goes_on_and_ends_as_if_it_had_not(
    trained: Path, sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sets["pictures"]
    command = ["embed", source, "--model", str(trained), "--part-rows", "10", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    assert main([*command, str(tmp_path / "broken")]) == 0
    (tmp_path / "broken" / "part-00001.parquet").unlink()
    (tmp_path / "broken" / "part-00003.safetensors").unlink()
    (tmp_path / "broken" / "part-00003.parquet").unlink()
    capsys.readouterr()
    assert main([*command, str(tmp_path / "broken")]) == 0
    assert "32 rows in 4 parts, 2 of them written now" in capsys.readouterr().out
    whole, again = read_embeddings(tmp_path / "whole"), read_embeddings(tmp_path / "broken")
    assert whole["keys"] == again["keys"] and len(whole["keys"]) == 32
    assert torch.equal(whole["image"][0], again["image"][0]) and torch.equal(whole["text"][0], again["text"][0])
    assert main([*command[:-1], "--part-rows", "11", "--out", str(tmp_path / "broken")]) == 2
    assert "embeddings of something else; different: part_rows" in capsys.readouterr().err


def test_a_modality_that_is_not_there_is_refused(
    trained: Path, sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["embed", sets["pictures"], "--model", str(trained), "--out", str(tmp_path / "out")]
    assert main([*command, "--modality", "audio"]) == 2
    assert "has no audio; it has: image, text" in capsys.readouterr().err
    assert main([*command, "--processes", "0"]) == 2
    assert "--processes: 0 is no count" in capsys.readouterr().err


@pytest.mark.slow
def test_several_processes_write_what_one_writes(trained: Path, sets: dict[str, str], tmp_path: Path) -> None:
    command = ["embed", sets["sounds"], "--model", str(trained), "--part-rows", "5", "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    assert main([*command, str(tmp_path / "two"), "--processes", "2"]) == 0
    one, two = read_embeddings(tmp_path / "one"), read_embeddings(tmp_path / "two")
    assert one["keys"] == two["keys"] and torch.allclose(one["audio"][0], two["audio"][0], atol=1e-6)
