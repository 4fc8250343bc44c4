"""Graphs of torch.export: any batch, size and length, read back by torch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmcontrast.data.transforms.image import eval_image
from mmcontrast.export.graph import centre_resized
from mmcontrast.export.parity import check, compare, pictures
from mmcontrast.exported.dtypes import Dtype
from tests.export.parts import OTHERS, QUICK, part_of, written


@pytest.mark.parametrize("size", [16, 97])
def test_pictures_in_the_graph_are_those_of_pillow_but_for_rare_single_steps(size: int) -> None:
    shapes = [(size, size), (2 * size + 3, 2 * size + 3), (size // 2 + 1, size), (2 * size + 5, size + 2)]
    for picture in pictures(*shapes):
        off = steps_off(picture, size)
        assert int(off.max()) <= 1 and int(off.sum()) <= 4 + off.numel() // 2000


def test_a_tall_picture_is_off_by_one_step_at_most() -> None:
    assert int(steps_off(pictures((66, 133))[0], 48).max()) <= 1


def steps_off(picture: Image.Image, size: int) -> torch.Tensor:
    expected = torch.from_numpy(eval_image(picture, size=size)).int()
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    return (centre_resized(pixels, size=size)[0].int() - expected).abs()


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


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_what_is_no_weight_is_not_rounded(dtype: Dtype, tmp_path: Path) -> None:
    part = part_of("small_audio_cnn", folder=tmp_path).stored_as(dtype)  # its mel filters and window are exact
    export_format, read = written("torch-export", part, tmp_path, dtype)
    assert all(each.largest <= 1e-5 for each in check(export_format, part, read))


def test_int8_weights_are_int8_in_the_file_and_float_in_the_sum(tmp_path: Path) -> None:
    part = part_of("text_transformer", folder=tmp_path).stored_as("int8")
    _, read = written("torch-export", part, tmp_path, "int8")
    assert all(each.largest <= 1e-5 for each in compare(part, read, limit=1.0))
    stored = torch.export.load(tmp_path / "text.pt2").state_dict.values()
    assert {torch.int8, torch.float32} == {each.dtype for each in stored}
