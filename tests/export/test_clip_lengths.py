"""Graphs fill and cut sounds of any length as the tower's ``length`` says; what no graph holds is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmcontrast.data.transforms.clip import windows
from mmcontrast.errors import ExportError
from mmcontrast.export.graph import SoundToPoint
from mmcontrast.front_ends.fusion import Fusion
from mmcontrast.specs import AudioSpec, ClipLength


@pytest.mark.parametrize("short", ["pad", "repeat", "repeat_pad"])
@pytest.mark.parametrize("long", ["start", "center"])
def test_a_graph_of_any_length_hears_what_the_encoder_hears(short: str, long: str) -> None:
    spec = AudioSpec(sample_rate_hz=10, seconds=1.0, length=ClipLength(short=short, long=long))  # type: ignore[arg-type]
    module = SoundToPoint(nn.Identity(), spec)
    shapes = {"wave": {0: torch.export.Dim("rows"), 1: torch.export.Dim("samples")}}
    graph = torch.export.export(module, (torch.zeros(2, 17),), dynamic_shapes=shapes).module()
    for length in (2, 3, 4, 9, 10, 11, 25):
        wave = np.arange(1, length + 1, dtype=np.float32)
        expected = windows(wave, spec)[0]
        for each in (module, graph):
            assert torch.equal(each(torch.from_numpy(wave)[None].repeat(2, 1))[1], torch.from_numpy(expected))


@pytest.mark.parametrize("fields", [{"length": ClipLength(long="windows")}, {"fusion": Fusion()}])
def test_several_windows_and_fusion_are_refused(fields: dict[str, object]) -> None:
    spec = AudioSpec(sample_rate_hz=48_000, seconds=1.0, **fields)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="no graph holds"):
        SoundToPoint(nn.Identity(), spec)
