"""Patchout: whole rows and columns go, prefix tokens stay, evaluation sees everything."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError
from mmcontrast.towers import TOWERS
from mmcontrast.towers.patchout import Patchout
from tests.tiny import MEL


def test_whole_rows_and_columns_are_left_out_for_each_row_of_the_batch_on_its_own() -> None:
    torch.manual_seed(0)
    patchout = Patchout(grid=(4, 6), mels=0.25, time=0.5, prefix_tokens=2)
    tokens = torch.arange(26.0)[None, :, None].repeat(16, 1, 3)
    kept = patchout(tokens)
    assert kept.shape == (16, 2 + 3 * 3, 3)
    assert torch.equal(kept[:, :2], tokens[:, :2])
    seen = set()
    for row in kept[:, 2:, 0].int() - 2:
        grid = row.view(3, 3)
        assert torch.equal(grid // 6, (grid // 6)[:, :1].expand(3, 3))  # one mel row a line
        assert torch.equal(grid % 6, (grid % 6)[:1].expand(3, 3))  # one moment a column
        assert (row.diff() > 0).all()  # in their order
        seen.add(tuple(row.tolist()))
    assert len(seen) > 5
    assert patchout.eval()(tokens) is tokens


def test_a_row_and_a_column_always_stay() -> None:
    assert Patchout(grid=(2, 3), mels=0.99, time=0.99)(torch.zeros(1, 6, 4)).shape == (1, 1, 4)


@pytest.mark.parametrize(
    ("tower", "fields", "counts"),
    [
        ("timm_spectrogram", {"size": 32}, [1 + 2, 1 + 4]),
        ("spectrogram_vit", {"strides": (16, 8)}, [1 + 1, 1 + 3]),
    ],
)
def test_a_vit_trains_on_fewer_patches(tower: str, fields: dict[str, Any], counts: list[int]) -> None:
    cls = TOWERS.get(tower)
    built = cls(cls.Config(name="vit_tiny_patch16_224", seconds=0.5, mel=MEL, patchout=(0.0, 0.5), **fields))
    seen = []
    built.inner.blocks[0].register_forward_hook(lambda module, given, out: seen.append(out.shape[1]))
    wave = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    built.train()(wave)
    built.eval()(wave)
    assert seen == counts


def test_other_towers_and_both_ways_at_once_are_refused() -> None:
    cls = TOWERS.get("timm_spectrogram")
    with pytest.raises(ConfigError, match="no plain ViT"):
        cls(cls.Config(name="resnet18", size=32, seconds=0.5, mel=MEL, patchout=(0.0, 0.5)))
    with pytest.raises(ConfigError, match="both leave out patches"):
        parse(TOWERS.get("spectrogram_vit").Config, {"patch_dropout": 0.5, "patchout": [0.5, 0.5]})
