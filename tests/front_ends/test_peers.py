"""Every preset against the package that its weights come from, or against librosa: 1e-4 dB."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mmcontrast.data.transforms.clip import filled
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.fusion import Fusion, four_mels, stretches
from mmcontrast.front_ends.log_mel import LogMel, LogMelConfig

LIMIT_DB = 1e-4
NEPER_DB = 10 / math.log(10)  # of one unit of a natural logarithm of energies


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Coloured noise whose bands are all far above the floor."""
    wave = np.random.default_rng(seed).standard_normal(samples)
    return (0.2 * (wave + 0.5 * np.roll(wave, 1))).astype(np.float32)


def plain(name: str, wave: np.ndarray, **fields: Any) -> np.ndarray:
    """Our front end without its affine map, (M, frames)."""
    config = FRONT_ENDS.get(name).Config
    neutral = {"mean_db": 0.0, "deviation_db": 1.0} if "mean_db" in vars(config()) else {"mean": 0.0, "deviation": 1.0}
    built = FRONT_ENDS.build(config(**{**neutral, **fields}))
    return built(torch.from_numpy(wave)[None])[0].numpy()


@pytest.mark.parametrize("name", ["log_mel", "laion", "laion_fusion", "msclap_2022", "msclap_2023"])
def test_log_mels_are_librosas(name: str) -> None:
    librosa = pytest.importorskip("librosa")
    config = FRONT_ENDS.get(name).Config()
    wave = noise(2 * config.sample_rate_hz // 3)
    stft = librosa.stft(
        np.trunc(wave * 32767).astype(np.float32) / np.float32(32767) if config.int16 else wave,
        n_fft=config.fft_samples, hop_length=config.hop_samples, win_length=config.window_samples, pad_mode="reflect",
    )  # fmt: skip
    filters = librosa.filters.mel(
        sr=config.filter_rate_hz or config.sample_rate_hz, n_fft=config.fft_samples, n_mels=config.mels,
        fmin=config.low_hz, fmax=config.high_hz, htk=config.scale == "htk",
        norm=None if config.norm == "none" else "slaney",
    )  # fmt: skip
    power = filters.astype(np.float64) @ np.abs(stft.astype(np.complex128)) ** 2
    theirs = librosa.power_to_db(power, ref=1.0, amin=config.floor, top_db=None)
    ours = plain(name, wave)
    assert ours.shape == theirs.shape == (config.mels, config.frames(len(wave)))
    np.testing.assert_allclose(ours, theirs, atol=LIMIT_DB, rtol=0)


def test_reference_range_power_and_border_are_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    config = LogMelConfig(
        window_samples=1024, power=1.0, reference=0.5, range_db=6.0, border="zeros", mean_db=0.0, deviation_db=1.0
    )
    wave = noise(9000)
    mel = librosa.feature.melspectrogram(
        y=wave, sr=config.sample_rate_hz, n_fft=1024, hop_length=config.hop_samples, n_mels=64, fmin=50.0,
        fmax=8000.0, power=1.0, pad_mode="constant",
    )  # fmt: skip
    theirs = librosa.power_to_db(mel, ref=0.5, amin=config.floor, top_db=6.0)
    assert theirs.min() == pytest.approx(theirs.max() - 6)
    np.testing.assert_allclose(LogMel(config)(torch.from_numpy(wave)[None])[0], theirs, atol=LIMIT_DB, rtol=0)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("kaldi_fbank", {}),
        ("imagebind", {"window_type": "hanning", "htk_compat": True}),
        ("ast", {"window_type": "hanning"}),
        ("beats", {}),
    ],
)
def test_filter_banks_are_kaldis(name: str, theirs: dict[str, Any]) -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    config = FRONT_ENDS.get(name).Config()
    wave = noise(32_000) + np.float32(0.1)
    given = torch.from_numpy(wave).double()[None] * config.gain
    given = given - given.mean() if config.centred else given
    expected = kaldi.fbank(given, num_mel_bins=128, sample_frequency=16_000.0, dither=0.0, **theirs).T.numpy()
    assert expected.shape == (128, 198) and config.frames(len(wave)) in (198, 204, 1024)
    front_end = FRONT_ENDS.build(replace(config, mean=0.0, deviation=1.0))
    single = front_end(torch.from_numpy(wave)[None])[0].numpy()
    front_end = front_end.double()
    double = front_end.finished(front_end.energies(front_end.prepared(torch.from_numpy(wave).double()[None])))[
        0
    ].numpy()
    assert not double[:, 198:].any()  # ImageBind's last six of 204 frames, AST's beyond two seconds
    np.testing.assert_allclose(NEPER_DB * double[:, :198], NEPER_DB * expected, atol=LIMIT_DB, rtol=0)
    # Pre-emphasis takes 30 dB off the lowest band: there float32 itself is off by 1e-3 dB, Kaldi's as well as ours.
    np.testing.assert_allclose(NEPER_DB * single[:, :198], NEPER_DB * expected, atol=3e-3, rtol=0)
    np.testing.assert_allclose(NEPER_DB * single[8:, :198], NEPER_DB * expected[8:], atol=5e-4, rtol=0)


def test_frames_past_the_end_of_a_short_sound_are_empty_as_in_asts_extractor() -> None:
    transformers = pytest.importorskip("transformers")
    wave = noise(12_345)
    theirs = transformers.ASTFeatureExtractor()(wave, sampling_rate=16_000)["input_values"][0].T
    front_end = FRONT_ENDS.build(FRONT_ENDS.get("ast").Config())
    padded = torch.from_numpy(filled(wave, samples=40_000, short="pad"))[None]
    np.testing.assert_allclose(front_end(padded)[0], theirs, atol=1e-4, rtol=0)
    silent = padded + 0.0  # no negative zero any more: silence
    assert (front_end(silent)[0, :, 76:248] != front_end(padded)[0, :, 76:248]).all()
    # Shorter than one frame, and nothing at all.
    for samples in (399, 0):
        bands = front_end(torch.from_numpy(filled(wave[:samples], samples=40_000, short="pad"))[None])
        assert (bands == bands[0, 0, 0]).all() and bands[0, 0, 0] == pytest.approx(4.2677393 / (2 * 4.5689974))


def test_whisper_is_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    wave = noise(8000)
    theirs = transformers.WhisperFeatureExtractor(chunk_length=1)(wave, sampling_rate=16_000)["input_features"][0]
    config = FRONT_ENDS.get("whisper").Config()
    ours = FRONT_ENDS.build(config)(torch.from_numpy(np.pad(wave, (0, 8000)))[None])[0]
    np.testing.assert_allclose(40 * ours.numpy(), 40 * theirs, atol=LIMIT_DB, rtol=0)


@pytest.mark.parametrize("share", [0.3, 1.0, 1.005, 2.7])
def test_fusion_is_transformers(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short, exact, a little longer than a window, and long: the four spectrograms and whether it is longer."""
    transformers = pytest.importorskip("transformers")
    extractor = transformers.ClapFeatureExtractor(
        max_length_s=1, frequency_min=50, frequency_max=14_000, truncation="fusion"
    )
    wave = noise(round(share * 48_000))
    mel = FRONT_ENDS.get("laion_fusion").Config(int16=False)
    monkeypatch.setattr(np.random, "choice", lambda places: places[len(places) // 2])
    theirs, longer = extractor._get_input_mel(wave, 48_000, "fusion", "pad")
    filled = np.pad(wave, (0, max(0, 48_000 - len(wave))))
    ours = four_mels(filled, Fusion(mel=mel, antialias=False), samples=48_000)
    assert bool(ours["longer"]) == longer == (share == 2.7)
    heard = ours["mels"].transpose(1, 2).numpy()
    assert heard.shape == theirs.shape == (4, 101, 64)
    np.testing.assert_allclose(heard, theirs, atol=LIMIT_DB, rtol=0)


def test_shrinking_is_torchvisions() -> None:
    from torchvision.transforms import Resize

    from mmcontrast.front_ends.fusion import shrunk

    mel = torch.randn(64, 333, generator=torch.Generator().manual_seed(0))
    for antialias in (True, False):
        theirs = Resize([101, 64], antialias=antialias)(mel.T[None])[0].T
        torch.testing.assert_close(shrunk(mel, 101, antialias=antialias), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("total", [102, 103, 104, 110, 1000])
def test_stretches_are_array_splits(total: int) -> None:
    expected = [part.tolist() or [0] for part in np.array_split(np.arange(total - 100), 3)]
    assert [list(part) for part in stretches(total, 101)] == expected
