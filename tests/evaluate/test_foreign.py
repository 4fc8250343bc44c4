"""Models of others behind the evaluators' encoder: nothing about them is drawn at random."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcontrast.evaluate.foreign import _functions


def test_clap_hears_the_first_window_of_a_long_sound() -> None:
    extraction = pytest.importorskip("transformers.models.clap.feature_extraction_clap")
    extractor = extraction.ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=160, max_length_s=1, fft_window_size=256, frequency_max=4000
    )
    model = SimpleNamespace(get_audio_features=lambda input_features, is_longer: input_features.flatten(1))
    audio = _functions(model, SimpleNamespace(feature_extractor=extractor), "clap", 8000, "cpu")["audio"]
    wave = np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    found = audio([wave, wave[:8000]])
    assert torch.equal(found[0], found[1]) and torch.equal(audio([wave])[0], found[0])
    assert not torch.equal(audio([wave[8000:]])[0], found[0])
