"""Our own folder: the same embeddings and the same evaluation as the run, and damage that is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.cli import main
from mmcontrast.errors import CheckpointError
from mmcontrast.evaluate.encoder import load_encoder
from mmcontrast.export.parity import CAPTIONS
from mmcontrast.export.run_export import export
from tests.evaluate.fakes import make_things

SUITE = """
evals:
  pictures: {{type: zero_shot, source: {source}, label: thing, top: [1]}}
  sounds: {{type: retrieval, source: {source}, query: audio, target: text}}
"""


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tower as safetensors."""
    return export(trained, tmp_path_factory.mktemp("exports") / "all", licence="CC0-1.0").folder


def test_an_export_encodes_exactly_as_its_run(trained: Path, exported: Path) -> None:
    ours, theirs = load_encoder(trained), load_encoder(exported)
    assert theirs.modalities == ("audio", "image", "text")
    assert torch.equal(ours.encode("text", CAPTIONS), theirs.encode("text", CAPTIONS))
    wave = torch.linspace(-1, 1, 1500).sin().numpy()
    assert torch.equal(ours.encode("audio", [wave]), theirs.encode("audio", [wave]))


def test_an_evaluation_of_an_export_gives_the_numbers_of_the_run(
    trained: Path, exported: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE.format(source=make_things(tmp_path / "things", things=4)), encoding="utf-8")

    def numbers(location: Path, out: Path) -> dict[str, Any]:
        assert main(["eval", "run", str(location), "--suite", str(suite), "--out", str(out)]) == 0
        found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))["evaluators"]
        return found

    assert numbers(trained, tmp_path / "run") == numbers(exported, tmp_path / "exported")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "README.md"])
def test_a_changed_byte_is_an_error_that_names_the_file(exported: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        load_encoder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "sha256.json"])
def test_a_missing_file_is_an_error_that_names_it(exported: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_encoder(folder)


def test_the_card_names_data_licences_config_and_use(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: cc0-1.0\n")
    assert "| pictures | 32 | CC0-1.0 (32) |" in card and "| sounds | 20 | CC0-1.0 (20) |" in card
    assert "mmcontrast.load(" in card and "type: small_resnet" in card and "2 updates" in card


def test_a_subset_of_towers_holds_nothing_of_the_others(trained: Path, exported: Path, tmp_path: Path) -> None:
    folder = export(trained, tmp_path / "text", towers=["text"]).folder
    assert load_encoder(folder).modalities == ("text",)
    again = export(exported, tmp_path / "again", towers=["text"]).folder  # from an export, not from the run
    assert (folder / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").stat().st_size < (exported / "model.safetensors").stat().st_size / 2


@pytest.mark.parametrize(
    ("dtype", "share", "limit"), [("fp16", 0.55, 1e-5), ("bf16", 0.55, 1e-3), ("int8", 0.45, 2e-2)]
)
def test_smaller_types_are_smaller_and_say_what_they_cost(
    trained: Path, exported: Path, tmp_path: Path, dtype: Any, share: float, limit: float
) -> None:
    done = export(trained, tmp_path / dtype, dtype=dtype)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (done.folder, exported)]
    assert sizes[0] < share * sizes[1] + 12_000  # the names of tensors weigh much in a tiny model
    assert all(each.largest <= 1e-6 for each in done.parity)
    assert done.loss and all(0 < each.cosine_loss < limit for each in done.loss)
    assert "cosine loss" in (done.folder / "README.md").read_text(encoding="utf-8")


def test_the_moving_average_is_exported_when_asked_for(trained: Path, tmp_path: Path) -> None:
    folder = export(trained, tmp_path / "ema", weights="ema", towers=["text"]).folder
    z = load_encoder(folder).encode("text", CAPTIONS)
    assert torch.equal(z, load_encoder(trained, weights="ema").encode("text", CAPTIONS))
    assert not torch.equal(z, load_encoder(trained).encode("text", CAPTIONS))
    assert "(moving average)" in (folder / "README.md").read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match="an export, which has one set of weights"):
        load_encoder(folder, weights="ema")
