"""ViTs on spectrograms against transformers' AST, and what is done to the weights of other grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmcontrast.errors import ConfigError
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.towers import TOWERS

MEL = LogMelConfig(
    sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=32, low_hz=50.0, high_hz=4000.0
)


def tower_of(**fields: Any) -> Any:
    """A small tower of 32 mels in evaluation mode; half a second is 32 frames."""
    cls = TOWERS.get("spectrogram_vit")
    return cls(cls.Config(**{"name": "test_vit", "seconds": 0.5, "mel": MEL, **fields})).eval()


def test_pooled_features_are_those_of_asts_published_layout(tmp_path: Path) -> None:
    from transformers import ASTConfig, ASTModel

    torch.manual_seed(0)
    theirs = ASTModel(
        ASTConfig(
            hidden_size=192,
            num_attention_heads=3,
            intermediate_size=768,
            num_mel_bins=32,
            max_length=63,
            layer_norm_eps=1e-6,
        )  # fmt: skip
    ).eval()
    with torch.no_grad():
        for each in theirs.parameters():
            each.add_(0.02 * torch.randn(each.shape))
    theirs.save_pretrained(tmp_path)
    tower = tower_of(name="deit_tiny_distilled_patch16_224", seconds=1.0)
    tower.load_state_dict(tower.adopt(load_file(tmp_path / "model.safetensors")))
    mel = torch.randn(2, 32, 63)
    with torch.no_grad():
        out = theirs(mel.transpose(1, 2))
        features = tower.read(mel)
        torch.testing.assert_close(features.pooled, out.pooler_output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.tokens, out.last_hidden_state[:, 2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strides", [(16, 16), (10, 10), (8, 4)])
def test_patches_start_every_few_mels_and_frames(strides: tuple[int, int]) -> None:
    tower = tower_of(strides=strides)
    rows, columns = ((side - 16) // step + 1 for side, step in zip((32, 32), strides, strict=True))
    mel = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    patches = tower.inner.patch_embed
    with torch.no_grad():
        assert tower.read(mel).tokens.shape == (1, rows * columns, 64)
        row, column = rows - 1, columns - 1
        corner = mel[:, row * strides[0] :, column * strides[1] :][:, :16, :16]
        expected = (patches.proj.weight[:, 0] * corner).sum(dim=(1, 2)) + patches.proj.bias
        torch.testing.assert_close(patches(mel[:, None])[0, -1], expected, atol=1e-4, rtol=1e-4)


def test_weights_of_pictures_give_summed_filters_and_interpolated_positions() -> None:
    from timm import create_model

    torch.manual_seed(0)
    theirs = create_model("test_vit", pretrained=False)  # 10 by 10 patches of three colours
    with torch.no_grad():
        theirs.pos_embed[0, 1:] = torch.arange(10.0).repeat_interleave(10)[:, None]  # positions say their row alone
    tower = tower_of(strides=(10, 8))
    adopted = tower.adopt(theirs.state_dict())
    tower.load_state_dict(adopted)
    filters = theirs.state_dict()["patch_embed.proj.weight"]
    torch.testing.assert_close(adopted["inner.patch_embed.proj.weight"], filters.sum(dim=1, keepdim=True))
    assert torch.equal(tower.inner.pos_embed[:, 0], theirs.pos_embed[:, 0])
    grid = tower.inner.pos_embed[0, 1:].unflatten(0, tower.inner.patch_embed.grid_size)  # (rows, columns, width)
    torch.testing.assert_close(grid, grid[:, :1, :1].expand_as(grid))
    assert (grid[:, 0, 0].diff() > 2).all()
    torch.testing.assert_close(grid.mean(), torch.tensor(4.5))


def test_weights_of_another_length_keep_their_mels_apart() -> None:
    short, long = tower_of(), tower_of(seconds=1.0)
    (rows, columns), (_, more) = short.inner.patch_embed.grid_size, long.inner.patch_embed.grid_size
    with torch.no_grad():  # positions that say their row alone
        for row in range(rows):
            short.inner.pos_embed[:, 1 + row * columns : 1 + (row + 1) * columns] = row
    long.load_state_dict(long.adopt(short.state_dict()))
    expected = torch.arange(rows).repeat_interleave(more).float()
    torch.testing.assert_close(long.inner.pos_embed[0, 1:, 0], expected)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "resnet10t"}, "'resnet10t' is no ViT with a position for each patch"),
        ({"seconds": 0.1}, "32 mels and 7 frames is smaller than a patch"),
    ],
)
def test_what_has_no_patches_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tower_of(**fields)
