"""Whisper's encoder and its front end against transformers'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.errors import ConfigError
from mmcontrast.towers import TOWERS
from tests.contracts.examples import WHISPER, whisper_folder


def tower_of(folder: Path, **fields: Any) -> Any:
    cls = TOWERS.get("whisper_encoder")
    return cls(cls.Config(folder=folder, **fields)).eval()


def test_waveforms_to_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    theirs = WhisperModel(WhisperConfig(**WHISPER)).eval()
    theirs.save_pretrained(tmp_path)
    tower = tower_of(tmp_path, seconds=2.0)
    wave = 0.1 * torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 1, 32_000)
    wave[1, 16_000:] = 0  # padding, far below the loudest
    extract = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    mel = extract(list(wave.numpy()), sampling_rate=16_000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        torch.testing.assert_close(tower.mel(wave), mel, atol=1e-5, rtol=0)
        expected = theirs.encoder(mel).last_hidden_state
        torch.testing.assert_close(tower(wave).tokens, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tower(wave).pooled, expected.mean(dim=1), atol=1e-5, rtol=1e-5)


def test_a_shorter_window_keeps_the_first_positions(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    theirs = WhisperModel(WhisperConfig(**WHISPER))
    theirs.save_pretrained(tmp_path)
    positions = tower_of(tmp_path, seconds=0.5).inner.embed_positions.weight
    assert positions.shape == (25, 16) and not positions.requires_grad
    assert torch.equal(positions, theirs.encoder.embed_positions.weight[:25])


def test_random_weights_have_sines_for_positions_too(tmp_path: Path) -> None:
    positions = tower_of(whisper_folder(tmp_path), seconds=0.5).inner.embed_positions.weight
    torch.testing.assert_close(positions[:, 0], torch.arange(25.0).sin())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "whisper")
    with pytest.raises(ConfigError, match="3 seconds: .* reads up to 2"):
        tower_of(folder, seconds=3.0)
    with pytest.raises(ConfigError, match=r"no config\.json"):
        tower_of(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="holds a bert, not a whisper"):
        tower_of(tmp_path)
