"""PANNs against the modules of LAION-CLAP and MS-CLAP."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.towers import TOWERS
from tests.towers.peer_modules import peer_module
from tests.towers.scattered import fill, two_sounds

MEL = LogMelConfig(
    sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=64, mels=64, low_hz=50.0, high_hz=4000.0,
    mean_db=0.0, deviation_db=1.0,
)  # fmt: skip
FRONT_END = {"sample_rate": 8000, "window_size": 256, "hop_size": 64, "mel_bins": 64, "fmin": 50, "fmax": 4000}


def tower_of(variant: str, **fields: Any) -> Any:
    """A tower with frozen statistics, in evaluation mode."""
    cls = TOWERS.get("panns")
    return cls(cls.Config(variant=variant, seconds=0.75, mel=MEL, batch_norm="frozen", **fields)).eval()


def by_the_table(tower: Any, wave: Tensor, *, kernel: int) -> Tensor:
    """Pooled features as the paper's table says, from the tower's weights."""
    state = tower.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, gain, bias = (state[f"{name}.{each}"] for each in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, gain, bias)

    x = norm(tower.mel(wave)[..., None], "bn0").permute(0, 3, 2, 1)  # (B, 1, frames, M)
    for block in (1, 2):
        for number in (1, 2) if kernel == 3 else (1,):
            x = F.conv2d(x, state[f"conv_block{block}.conv{number}.weight"], padding=kernel // 2)
            x = norm(x, f"conv_block{block}.bn{number}").relu()
        x = F.avg_pool2d(x, 2)
    x = x.mean(dim=3)
    return F.linear(x.max(dim=2).values + x.mean(dim=2), state["fc1.weight"], state["fc1.bias"]).relu()


@pytest.mark.parametrize(("variant", "kernel"), [("cnn14", 3), ("cnn6", 5)])
def test_pooled_features_follow_the_papers_table(variant: str, kernel: int) -> None:
    tower, wave = tower_of(variant, widths=(8, 16), width=12), two_sounds()
    fill(tower)
    with torch.no_grad():
        features = tower(wave)
        torch.testing.assert_close(features.pooled, by_the_table(tower, wave, kernel=kernel), atol=1e-5, rtol=1e-5)
    assert features.pooled.shape == (2, 12) and features.tokens.shape == (2, 94 // 4, 16)


@pytest.mark.parametrize(
    ("variant", "width", "names"),
    [
        ("cnn14", 2048, {"conv_block6.conv2.weight", "conv_block6.bn2.running_var", "bn0.weight", "fc1.bias"}),
        ("cnn10", 1024, {"conv_block5.conv2.weight", "conv_block5.bn1.bias", "fc1.weight"}),
        ("cnn6", 512, {"conv_block4.conv1.weight", "conv_block4.bn1.running_mean"}),
    ],
)
def test_names_and_sizes_are_those_of_the_published_files(variant: str, width: int, names: set[str]) -> None:
    with torch.device("meta"):
        tower = tower_of(variant)
    assert tower.width == tower.token_width == width
    assert names <= set(tower.state_dict())
    assert len(tower.layout().blocks) == {"cnn14": 6, "cnn10": 5, "cnn6": 4}[variant]
    model = {f"audio_encoder.base.{name}": each for name, each in tower.state_dict().items()}
    other = {"audio_encoder.base.fc_audioset.bias": torch.zeros(1), "caption_encoder.base.x": torch.zeros(1)}
    assert set(tower.adopt(model | other)) == set(tower.state_dict())


def test_a_spectrogram_too_small_to_be_halved_is_refused() -> None:
    with pytest.raises(ConfigError, match="12 frames cannot be halved 6 times.*32 or more"):
        parse(TOWERS.get("panns").Config, {"seconds": 0.11})


def test_the_statistics_of_mel_bands_stay_while_training() -> None:
    tower = tower_of("cnn6", widths=(8, 16)).train()
    before = tower.bn0.running_mean.clone()
    tower(two_sounds())
    assert torch.equal(tower.bn0.running_mean, before)


@pytest.mark.slow  # the peers' widths are fixed: 80 million weights
@pytest.mark.parametrize(
    ("package", "module", "variant"),
    [
        ("laion_clap", "clap_module.pann_model", "cnn14"),
        ("laion_clap", "clap_module.pann_model", "cnn10"),
        ("laion_clap", "clap_module.pann_model", "cnn6"),
        ("msclap", "models.audio", "cnn14"),
    ],
)
def test_pooled_features_are_the_peers(package: str, module: str, variant: str) -> None:
    torch.manual_seed(0)
    wave = two_sounds()
    with peer_module(package, module) as peer:
        name = variant.capitalize()
        out = {"out_emb": 2048} if package == "msclap" else {}
        theirs = getattr(peer, name)(**FRONT_END, classes_num=5, **out).eval()
        for each in theirs.modules():
            if isinstance(each, torch.nn.BatchNorm2d):
                mean = -30.0 if each is theirs.bn0 else 0.0
                each.running_mean.normal_(mean)
                each.running_var.uniform_(0.5, 2.0)
        with torch.no_grad():
            expected = theirs(wave if package == "msclap" or variant != "cnn14" else {"waveform": wave})["embedding"]
    tower = tower_of(variant)
    tower.load_state_dict(tower.adopt(theirs.state_dict()))
    with torch.no_grad():
        ours = tower(wave).pooled
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)
