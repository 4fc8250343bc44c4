"""HTSAT with fusion against transformers' and LAION-CLAP's own modules, and what it promises of rows."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcontrast.front_ends.fusion import four_mels
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.towers import TOWERS
from tests.towers.peer_modules import peer_module
from tests.towers.scattered import fill, scattered, two_sounds

MEL = LogMelConfig(
    sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=16, low_hz=50.0, high_hz=4000.0,
    scale="htk", norm="none", mean_db=0.0, deviation_db=1.0,
)  # fmt: skip
KINDS = ("aff_2d", "daf_2d", "iaff_2d", "aff_1d", "daf_1d", "iaff_1d", "channel_map")
# The first four of sixteen pooled features of each of three sounds, of which the first and last are longer, that
# laion-clap 1.1.7's HTSAT_Swin_Transformer returns for the spectrograms and weights below.
EXPECTED = {
    "aff_2d": [
        [0.9445560, -0.9756470, 0.9600571, -0.4881606],
        [0.6902628, -0.7125736, 0.9304916, -0.5343709],
        [1.0202686, -1.0942348, 1.0292370, -0.4153670],
    ],
    "daf_2d": [
        [0.6168990, -0.6765474, 0.4965373, -1.4948390],
        [0.5479225, -0.6446009, 0.4960827, -1.2858140],
        [0.3997538, -0.1328645, 0.5292003, -1.8480988],
    ],
    "iaff_2d": [
        [0.6739171, -0.6951712, 0.6840405, -1.2840589],
        [0.6409829, -0.6443476, 0.7242236, -0.8849808],
        [0.6447294, -0.4761168, 0.6661379, -1.3548797],
    ],
    "aff_1d": [
        [-0.4449804, 0.1111402, 0.6183855, -0.7829245],
        [-0.4729682, 0.0175033, 0.7529278, -0.7265443],
        [-0.4815301, 0.1128673, 0.6374180, -0.7577496],
    ],
    "daf_1d": [
        [1.0735128, -0.8815359, 0.1305987, 0.1482646],
        [1.4073384, -0.7876751, 0.1234760, -0.0019120],
        [1.1769001, -0.8220158, 0.1266792, 0.1213320],
    ],
    "iaff_1d": [
        [0.7919005, 0.0589294, 0.1282483, -0.1489888],
        [0.9096871, 0.1773066, 0.0239674, -0.1772421],
        [0.7606952, -0.1832431, 0.1314554, -0.0814516],
    ],
    "channel_map": [
        [0.9976387, -0.3869563, 0.6368499, -1.6082476],
        [1.0931456, -0.4225818, 0.6000848, -1.4845254],
        [0.8319395, -0.1660429, 0.4713538, -1.8126609],
    ],
}


def mels_of(kind: str) -> int:
    """LAION-CLAP's fusions of spectrograms have 64 mels, whatever its front end has."""
    return 64 if kind.endswith("_1d") else 16


def small(kind: str) -> dict[str, Any]:
    """Sizes; a whole of 64 frames makes 8 x 8 patches, or 16 x 16."""
    return {"size": 64 if kind.endswith("_1d") else 32, "width": 8, "depths": (2, 2), "heads": (2, 4), "window": 4}


def fused_tower(kind: str = "aff_2d") -> Any:
    """A small tower in evaluation mode."""
    cls = TOWERS.get("htsat_fusion")
    tower = cls(cls.Config(seconds=0.75, mel=replace(MEL, mels=mels_of(kind)), fusion=kind, **small(kind))).eval()
    fill(tower)
    return tower


def three_sounds(kind: str = "aff_2d") -> dict[str, Tensor]:
    """Spectrograms of 47 frames, in decibels; the first and the last sound are longer than that."""
    shape = (3, 4, 47, mels_of(kind))
    places = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
    return {
        "mels": (20 * scattered(places, 1) - 30).float().transpose(2, 3),
        "longer": torch.tensor([True, False, True]),
    }


def laions(kind: str) -> Any:
    """LAION-CLAP's module of the same sizes."""
    with peer_module("laion_clap", "clap_module.htsat") as peer:
        front_end = SimpleNamespace(
            window_size=256, hop_size=128, sample_rate=8000, mel_bins=mels_of(kind), fmin=50, fmax=4000
        )
        return peer.HTSAT_Swin_Transformer(
            spec_size=small(kind)["size"], num_classes=5, config=front_end, enable_fusion=True, fusion_type=kind,
            embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4,
        ).eval()  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_features_are_those_recorded_from_laion(kind: str) -> None:
    with torch.no_grad():
        ours = fused_tower(kind)(three_sounds(kind)).pooled[:, :4]
    torch.testing.assert_close(ours, torch.tensor(EXPECTED[kind]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_features_are_laions(kind: str) -> None:
    sounds, tower, theirs = three_sounds(kind), fused_tower(kind), laions(kind)
    assert theirs.load_state_dict(tower.state_dict(), strict=False).unexpected_keys == []
    assert set(tower.adopt(theirs.state_dict())) == set(tower.state_dict())
    with torch.no_grad():
        expected = theirs({"mel_fusion": sounds["mels"].transpose(2, 3), "longer": sounds["longer"]})["embedding"]
        torch.testing.assert_close(tower(sounds).pooled, expected, atol=1e-5, rtol=1e-5)


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names of transformers' ClapAudioEncoder."""
    names = {
        r"^bn0\.": "batch_norm.",
        r"\.attn\.relative": ".attention.self.relative",
        r"\.attn\.proj\.": ".attention.output.dense.",
        r"\.norm1\.": ".layernorm_before.",
        r"\.norm2\.": ".layernorm_after.",
        r"\.mlp\.fc1\.": ".intermediate.dense.",
        r"\.mlp\.fc2\.": ".output.dense.",
    }
    result = {}
    for name, value in state.items():
        for pattern, by in names.items():
            name = re.sub(pattern, by, name)
        if ".attn.qkv." in name:
            for part, each in zip(("query", "key", "value"), value.chunk(3), strict=True):
                result[name.replace(".attn.qkv.", f".attention.self.{part}.")] = each
        elif not name.endswith("attn_mask"):
            result[name] = value
    return result


def test_pooled_features_are_those_of_transformers() -> None:
    from transformers import ClapAudioConfig, ClapAudioModel

    sounds, tower = three_sounds(), fused_tower()
    theirs = ClapAudioModel(
        ClapAudioConfig(
            spec_size=32,
            num_mel_bins=16,
            window_size=4,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            num_hidden_layers=2,
            enable_fusion=True,
            fusion_type="aff_2d",
        )  # fmt: skip
    ).eval()
    theirs.audio_encoder.load_state_dict(to_transformers(tower.state_dict()))
    with torch.no_grad():
        expected = theirs(input_features=sounds["mels"].transpose(2, 3), is_longer=sounds["longer"]).pooler_output
        torch.testing.assert_close(tower(sounds).pooled, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_waveforms_and_spectrograms_that_are_not_longer_are_plain_htsat(kind: str) -> None:
    tower, plain = fused_tower(kind), TOWERS.get("htsat")
    alone = plain(plain.Config(seconds=0.75, mel=replace(MEL, mels=mels_of(kind)), **small(kind))).eval()
    alone.load_state_dict({name: each for name, each in tower.state_dict().items() if name in alone.state_dict()})
    wave = two_sounds()
    mels = tower.mel(wave)[:, None].expand(-1, 4, -1, -1)
    with torch.no_grad():
        expected = alone(wave).pooled
        torch.testing.assert_close(tower(wave).pooled, expected, atol=1e-5, rtol=1e-5)
        fused = tower({"mels": mels, "longer": torch.zeros(2, dtype=torch.bool)}).pooled
        torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)
        longer = tower({"mels": mels, "longer": torch.ones(2, dtype=torch.bool)}).pooled
        assert not torch.allclose(longer, expected, atol=1e-2)


@pytest.mark.parametrize("kind", ["iaff_2d", "iaff_1d"])
@pytest.mark.parametrize("longer", [(False, False, False), (True, False, True)])
def test_every_weight_has_a_gradient_and_no_row_touches_another(longer: tuple[bool, ...], kind: str) -> None:
    tower, sounds = fused_tower(kind).train(), three_sounds(kind) | {"longer": torch.tensor(longer)}
    pooled = tower(sounds).pooled
    pooled.square().sum().backward()
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in tower.parameters())
    fusion = (tower.fusion_model or tower.patch_embed.fusion_model).local_att2[0].weight.grad
    assert bool(fusion.abs().sum() > 0) is any(longer)
    for row in range(3):
        alone = tower({name: each[row : row + 1] for name, each in sounds.items()}).pooled
        torch.testing.assert_close(alone[0], pooled[row], atol=1e-5, rtol=1e-4)


def test_a_long_sound_of_the_front_end_is_read_as_it_is_described() -> None:
    tower = fused_tower()
    spec = tower.config.input_spec()
    wave = two_sounds()[0].repeat(3).numpy()
    row = four_mels(wave, spec.fusion, samples=spec.samples)
    assert bool(row["longer"]) and row["mels"].shape == (4, 16, 47)
    with torch.no_grad():
        pooled = tower({name: each[None] for name, each in row.items()}).pooled
    assert pooled.shape == (1, tower.width) and torch.isfinite(pooled).all()
