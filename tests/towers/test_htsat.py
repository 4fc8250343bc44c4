"""HTSAT against numbers of LAION-CLAP's own module."""

from __future__ import annotations

import torch

from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.towers import TOWERS

# The first six of sixteen pooled features that laion-clap 1.1.7's HTSAT_Swin_Transformer returns for the sounds and
# the weights below (spec_size 32, embed_dim 8, depths and heads 2 2 and 2 4, window 4; 16 mels at 8 kHz, window 256,
# hop 128, 50 to 4000 Hz).  What it has beyond ours is a classifier and its own front end.
EXPECTED = torch.tensor(
    [
        [0.6047755, -0.3807350, 0.7635666, -2.2436943, -1.3059781, -0.2770691],
        [0.8575577, -0.9806749, 0.9715462, -0.7482010, -1.7193927, -1.1525851],
    ]
)


def scattered(places: torch.Tensor, number: int) -> torch.Tensor:
    """Numbers in (-1, 1) that look random and are the same everywhere."""
    return ((places * 12.9898 + number * 78.233).sin() * 43758.5453).frac()


def two_sounds() -> torch.Tensor:
    """A rising tone and a fading one, in noise: three quarters of a second at 8 kHz."""
    places = torch.arange(6000, dtype=torch.float64)
    time = places / 8000
    rising = 0.3 * (2 * torch.pi * (300 + 400 * time) * time).sin()
    fading = 0.2 * (2 * torch.pi * 1500 * time).sin() * (1 - time)
    return (torch.stack([rising, fading]) + 0.05 * scattered(places, 0)).float()


def test_pooled_features_are_laions() -> None:
    mel = LogMelConfig(
        sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=16, low_hz=50.0,
        high_hz=4000.0, mean_db=0.0, deviation_db=1.0,
    )  # fmt: skip
    cls = TOWERS.get("htsat")
    tower = cls(cls.Config(seconds=0.75, mel=mel, size=32, width=8, depths=(2, 2), heads=(2, 4), window=4)).eval()
    state = tower.state_dict()
    for number, name in enumerate(sorted(state)):
        if not state[name].is_floating_point() or name.endswith("attn_mask"):
            continue
        places = torch.arange(state[name].numel(), dtype=torch.float64).view(state[name].shape)
        values = scattered(places, number)
        if name == "bn0.running_mean":
            values = values - 30
        elif name == "bn0.running_var":
            values = 100 * (2 + values)
        else:
            values = 0.3 * values + name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "bn0.weight"))
        state[name].copy_(values)
    with torch.no_grad():
        # the mel filters of the two packages differ by 1e-4 dB
        torch.testing.assert_close(tower(two_sounds()).pooled[:, :6], EXPECTED, atol=1e-4, rtol=1e-4)


def test_every_name_is_one_of_the_published_files() -> None:
    cls = TOWERS.get("htsat")
    names = set(cls(cls.Config(width=16)).state_dict())
    assert {
        "bn0.running_mean",
        "patch_embed.proj.weight",
        "patch_embed.norm.bias",
        "layers.0.blocks.1.attn_mask",
        "layers.2.blocks.5.attn.relative_position_bias_table",
        "layers.2.blocks.5.attn.qkv.weight",
        "layers.3.blocks.1.mlp.fc2.bias",
        "layers.0.downsample.reduction.weight",
        "norm.weight",
    } <= names
    assert not any(name.startswith(("mel.", "head.")) for name in names)
