"""Patch dropout: towers that leave out patches in training alone, and towers that have no patches to leave out."""

from __future__ import annotations

import pytest
import torch

from mmcontrast.errors import ConfigError
from mmcontrast.towers import TOWERS


@pytest.mark.parametrize(
    ("tower", "name"), [("timm_image", "vit_tiny_patch16_224"), ("open_clip_image", "ViT-S-32-alt")]
)
def test_patches_are_left_out_in_training_alone(tower: str, name: str) -> None:
    torch.manual_seed(0)
    plain = TOWERS.build(TOWERS.get(tower).Config(name=name, size=128)).eval()
    dropping = TOWERS.build(TOWERS.get(tower).Config(name=name, size=128, patch_dropout=0.5))
    dropping.load_state_dict(plain.state_dict())
    pixels = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    with torch.no_grad():
        expected = plain(pixels).pooled
        torch.testing.assert_close(dropping.eval()(pixels).pooled, expected)
        one, two = (dropping.train()(pixels).pooled for _ in range(2))
    assert not torch.allclose(one, two) and not torch.allclose(one, expected)


def test_a_model_without_patches_refuses() -> None:
    with pytest.raises(ConfigError, match="patch_drop_rate"):
        TOWERS.build(TOWERS.get("timm_image").Config(name="resnet10t", size=32, patch_dropout=0.5))
