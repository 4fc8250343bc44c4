"""Front ends of published models as ONNX graphs, beside the towers that they belong to: 16 bits, Kaldi's, padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcontrast.errors import ExportError
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.export.parity import check
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.specs import ClipLength
from tests.export.parts import part_of, written

pytestmark = pytest.mark.slow


def front_end(name: str, **fields: Any) -> Any:
    """A preset's values with few mels."""
    return FRONT_ENDS.get(name).Config(mels=16, **fields)


@pytest.mark.parametrize(
    ("tower", "fields"),
    [
        ("small_audio_cnn", {"mel": front_end("laion"), "seconds": 0.25}),
        ("small_audio_cnn", {"mel": front_end("beats"), "seconds": 0.4, "length": ClipLength(short="repeat_pad")}),
        ("small_audio_cnn", {"mel": front_end("imagebind", fixed_frames=50), "seconds": 0.4}),
        ("small_audio_cnn", {"mel": front_end("ast", fixed_frames=50), "length": ClipLength(long="center")}),
        ("beats", {}),
        ("imagebind_audio", {"length": ClipLength()}),
    ],
    ids=["laion", "beats", "imagebind", "ast", "tower beats", "tower imagebind"],
)
def test_onnx_computes_what_the_front_end_computes(tower: str, fields: dict[str, Any], tmp_path: Path) -> None:
    part = part_of(tower, folder=tmp_path, **fields)
    export_format, read = written("onnx", part, tmp_path)
    assert check(export_format, part, read)  # sounds of a window, of 0.37 and of 1.6
    # Louder than full scale, half of it silence, and a short one followed by silence, which is no padding.
    spec = part.spec("audio")
    wave = np.random.default_rng(0).standard_normal(spec.samples).astype(np.float32)  # type: ignore[union-attr]
    half = np.where(np.arange(len(wave)) < len(wave) // 2, wave, np.float32(0))
    items = [wave, half, half[: len(wave) // 2]]
    ours = TowerEncoder(part.model).encode("audio", items).float()
    theirs = torch.cat([torch.as_tensor(read.encode["audio"]([item])) for item in items]).float()
    normal = torch.nn.functional.normalize
    torch.testing.assert_close(normal(theirs, dim=-1), normal(ours, dim=-1), atol=1e-4, rtol=0)


def test_the_mean_of_imagebinds_windows_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"mean of several windows, which no graph holds.*start or center"):
        written("onnx", part_of("imagebind_audio", folder=tmp_path), tmp_path)
