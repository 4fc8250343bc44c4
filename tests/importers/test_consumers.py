"""What reads a checkpoint of ours reads an imported one: evaluation, export, mmcontrast.load, the start of a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmcontrast
from mmcontrast.cli import main
from mmcontrast.config import dump, to_tree
from mmcontrast.errors import CheckpointError
from mmcontrast.export.parity import pictures
from mmcontrast.exported import read_exported
from mmcontrast.teacher import load_teacher
from mmcontrast.train import train
from tests.evaluate.fakes import make_things
from tests.importers.conftest import Make
from tests.small_run import run_of, tree


@pytest.mark.slow
def test_an_imported_folder_is_evaluated_through_the_command_line(imported: Make, tmp_path: Path) -> None:
    _, done = imported("open-clip")
    suite = tmp_path / "small.yaml"
    things = make_things(tmp_path / "things", things=4)
    suite.write_text(f"evals: {{pictures: {{type: zero_shot, source: {things}, label: thing}}}}", encoding="utf-8")
    assert main(["eval", "run", str(done.folder), "--suite", str(suite), "--out", str(tmp_path / "eval")]) == 0
    found = json.loads((tmp_path / "eval/results.json").read_text(encoding="utf-8"))
    assert found["evaluators"]["pictures"]["num_rows"] == 8 and "peer" in found["about"]["run"]


def test_an_imported_folder_works_wherever_it_is_moved(imported: Make, tmp_path: Path) -> None:
    _, done = imported("hf-siglip")
    shutil.copytree(done.folder, tmp_path / "elsewhere")
    texts = ["a photo of a dog", "Rain"]
    before, after = (mmcontrast.load(place).encode(text=texts) for place in (done.folder, tmp_path / "elsewhere"))
    assert torch.equal(before, after)
    assert main(["export", str(tmp_path / "elsewhere"), str(tmp_path / "again"), "--tower", "text"]) == 0
    assert torch.equal(mmcontrast.load(tmp_path / "again").encode(text=texts), before)


def test_a_damaged_import_is_named_before_it_is_read(
    imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, done = imported("timm")
    shutil.copytree(done.folder, tmp_path / "copy")
    with (tmp_path / "copy/model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x80\x3f")
    assert main(["export", str(tmp_path / "copy"), str(tmp_path / "out")]) == 2
    assert "model.safetensors is damaged" in capsys.readouterr().err


def test_a_run_starts_from_an_imported_tower_with_its_head(
    sets: dict[str, str], imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, done = imported("timm")
    config = read_exported(done.folder).config
    built = tree(sets, tmp_path / "run")["model"]
    towers = {"image": to_tree(config.towers["image"]), "text": built["towers"]["text"]}
    model = {"dim": config.dim, "towers": towers, "heads": to_tree(config.heads),
             "training": {"image": {"weights": str(done.folder), "frozen": True, "frozen_head": True}}}  # fmt: skip
    objectives = {"main": {"type": "infonce", "pairs": [["image", "text"]]}}
    run = run_of(sets, tmp_path / "run", steps=2, model=model, objectives=objectives)
    (tmp_path / "run.yaml").write_text(dump(run), encoding="utf-8")
    assert main(["check", str(tmp_path / "run.yaml")]) == 0
    assert "tower image starts with its head from" in capsys.readouterr().out
    train(run)
    (picture,) = pictures((40, 30))
    before, after = (mmcontrast.load(place).encode(image=[picture]) for place in (done.folder, tmp_path / "run"))
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_an_imported_folder_teaches_a_run(
    sets: dict[str, str], imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, done = imported("timm")
    built = tree(sets, tmp_path / "run")["model"]
    student = {**built["towers"]["image"], "size": 32}
    model: dict[str, Any] = {"dim": 8, "towers": {"image": student, "text": built["towers"]["text"]}}
    objectives = {
        "main": {"type": "infonce", "pairs": [["image", "text"]]},
        "taught": {"type": "feature_distillation", "columns": ["image"]},
    }
    run = run_of(sets, tmp_path / "run", steps=2, model=model, objectives=objectives, teacher=str(done.folder))
    train(run)
    taught = load_teacher(run)
    (picture,) = pictures((32, 32))
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    assert taught is not None and torch.equal(
        taught.encode("image", values), mmcontrast.load(done.folder).encode(image=[picture])
    )
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("taught" in name for name in rows[-1])
    # What it reads is compared before anything is built, and a folder that is damaged is named.
    other = {**model, "towers": {**model["towers"], "image": {**student, "size": 16}}}
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(dump(run_of(sets, tmp_path / "other", model=other, objectives=objectives,
                                 teacher=str(done.folder))), encoding="utf-8")  # fmt: skip
    assert main(["check", str(wrong)]) == 2
    assert "Give both the same inputs" in capsys.readouterr().err
    shutil.copytree(done.folder, tmp_path / "damaged")
    (tmp_path / "damaged/model.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        load_teacher(replace(run, teacher=tmp_path / "damaged"))
