"""Graphs of torch.export: any batch, size and length, read back by torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcontrast.data.transforms.image import eval_image
from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.graph import centre_resized
from mmcontrast.export.parity import check, compare, pictures
from mmcontrast.export.part import Part
from mmcontrast.export.run_export import export, new_format
from mmcontrast.specs import ImageSpec
from tests.export.parts import OTHERS, QUICK, part_of


@pytest.mark.parametrize("size", [16, 97])
@pytest.mark.parametrize("square", [True, False])
def test_pictures_in_the_graph_are_those_of_pillow_but_for_rare_single_steps(size: int, square: bool) -> None:
    for picture in pictures(ImageSpec(size=size), square=square):
        expected = torch.from_numpy(eval_image(picture, size=size)).int()
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        off = (centre_resized(pixels, size=size)[0].int() - expected).abs()
        assert int(off.max()) <= 1 and int(off.sum()) <= 4 + off.numel() // 5000


def test_a_tall_picture_is_off_by_one_step_at_most() -> None:
    picture = pictures(ImageSpec(size=64), square=False)[0].rotate(90, expand=True)
    expected = torch.from_numpy(eval_image(picture, size=48)).int()
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    assert int((centre_resized(pixels, size=48)[0].int() - expected).abs().max()) <= 1


def written(name: str, part: Part, folder: Path, dtype: str = "fp32") -> tuple[ExportFormat, Read]:
    export_format = new_format(name)
    export_format.write(part, folder, dtype=dtype)  # type: ignore[arg-type]
    return export_format, export_format.read(folder, part)


@pytest.mark.parametrize("tower", QUICK)
def test_the_towers_of_the_quickstart_pass_one_by_one_and_in_a_batch(tower: str, tmp_path: Path) -> None:
    part = part_of(tower, folder=tmp_path)
    export_format, read = written("torch-export", part, tmp_path)
    found = check(export_format, part, read)
    assert found and all(each.largest <= 1e-4 for each in found)


@pytest.mark.slow
@pytest.mark.parametrize("tower", OTHERS)
def test_every_other_tower_passes(tower: str, tmp_path: Path) -> None:
    part = part_of(tower, folder=tmp_path)
    export_format, read = written("torch-export", part, tmp_path)
    assert check(export_format, part, read)


def test_int8_weights_are_int8_in_the_file_and_float_in_the_sum(tmp_path: Path) -> None:
    part = part_of("text_transformer", folder=tmp_path).stored_as("int8")
    _, read = written("torch-export", part, tmp_path, "int8")
    assert all(each.largest <= 1e-5 for each in compare(part, read, limit=1.0))
    stored = torch.export.load(tmp_path / "text.pt2").state_dict.values()
    assert {torch.int8, torch.float32} == {each.dtype for each in stored}


@pytest.mark.slow
def test_a_graph_runs_where_there_is_no_mmcontrast(trained: Path, tmp_path: Path) -> None:
    folder = export(trained, tmp_path / "out", to="torch-export", towers=["text"]).folder
    code = (
        "import sys; sys.modules['mmcontrast'] = None\n"
        "import torch\n"
        f"model = torch.export.load({str(folder / 'text.pt2')!r}).module()\n"
        "print(model(torch.tensor([[5, 6, 0]])).norm().item())"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert abs(float(done.stdout) - 1) < 1e-5
