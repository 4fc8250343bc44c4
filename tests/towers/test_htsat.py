"""HTSAT against numbers of LAION-CLAP's own module."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.towers import TOWERS
from tests.towers.peer_modules import peer_module
from tests.towers.scattered import fill, two_sounds

# The first six of sixteen pooled features that laion-clap 1.1.7's HTSAT_Swin_Transformer returns for the sounds and
# the weights below (spec_size 32, embed_dim 8, depths and heads 2 2 and 2 4, window 4; 16 mels at 8 kHz, window 256,
# hop 128, 50 to 4000 Hz).  What it has beyond ours is a classifier and its own front end.
EXPECTED = torch.tensor(
    [
        [0.6047755, -0.3807350, 0.7635666, -2.2436943, -1.3059781, -0.2770691],
        [0.8575577, -0.9806749, 0.9715462, -0.7482010, -1.7193927, -1.1525851],
    ]
)


def test_pooled_features_are_laions() -> None:
    mel = LogMelConfig(
        sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=16, low_hz=50.0,
        high_hz=4000.0, mean_db=0.0, deviation_db=1.0,
    )  # fmt: skip
    cls = TOWERS.get("htsat")
    tower = cls(cls.Config(seconds=0.75, mel=mel, size=32, width=8, depths=(2, 2), heads=(2, 4), window=4)).eval()
    fill(tower)
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


SIZES = [("tiny", 768, 12), ("base", 1024, 18), ("large", 2048, 18)]


def variant_of(variant: str) -> Any:
    """Shapes alone."""
    cls = TOWERS.get("htsat")
    with torch.device("meta"):
        return cls(cls.Config(variant=variant))


@pytest.mark.parametrize(("variant", "width", "blocks"), SIZES)
def test_variants_have_laions_widths_and_depths(variant: str, width: int, blocks: int) -> None:
    tower = variant_of(variant)
    assert (tower.width, len(tower.layout().blocks)) == (width, blocks)


@pytest.mark.slow  # 190 million weights are drawn for the large one
@pytest.mark.parametrize("variant", [name for name, _, _ in SIZES])
def test_names_and_shapes_of_variants_are_laions(variant: str) -> None:
    tower = variant_of(variant)
    with peer_module("laion_clap", "clap_module.htsat") as peer:
        sizes = SimpleNamespace(
            model_name=variant, class_num=527, window_size=1024, hop_size=480, sample_rate=48_000, mel_bins=64,
            fmin=50, fmax=14_000,
        )  # fmt: skip
        theirs = tower.adopt(peer.create_htsat_model(sizes).state_dict())
    ours = tower.state_dict()
    assert {name: each.shape for name, each in ours.items()} == {name: each.shape for name, each in theirs.items()}
