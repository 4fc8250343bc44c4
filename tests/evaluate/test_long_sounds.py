"""Sounds longer than the window: the mean of their windows' embeddings, the same at every call, and said once."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.model import Model, ModelConfig
from mmcontrast.specs import ClipLength
from mmcontrast.towers import TOWERS
from tests import tiny

SAMPLES = 2000  # of the tiny tower's window


def encoder(length: ClipLength, *, batch_rows: int = 3) -> TowerEncoder:
    torch.manual_seed(0)
    tower = replace(tiny.TOWERS["audio"], length=length)
    return TowerEncoder(Model(ModelConfig(dim=8, towers={"audio": tower})), batch_rows=batch_rows)


def sounds(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(length).astype(np.float32) for length in lengths]


def test_windows_are_averaged_on_the_geometry_and_short_sounds_are_as_before() -> None:
    items = sounds(500, SAMPLES, 5000, 300, 2001)
    averaged = encoder(ClipLength(long="windows"))
    with pytest.warns(UserWarning, match=r"longer than the audio tower's window of 0\.25 s.*mean of the embeddings"):
        z = averaged.encode("audio", items)
    assert dict(averaged.sounds) == {"all": 5, "longer": 2, "shorter": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert torch.equal(averaged.encode("audio", items), z)
        single = encoder(ClipLength())
        assert torch.allclose(single.encode("audio", [items[0], items[1], items[3]]), z[[0, 1, 3]], atol=1e-6)
        starts = [items[2][start : start + SAMPLES] for start in (0, 1500, 3000)]
        parts = single.encode("audio", starts)
    expected = torch.nn.functional.normalize(parts.mean(dim=0), dim=0)
    torch.testing.assert_close(z[2], expected, atol=1e-6, rtol=0)


def test_another_rule_is_chosen_without_changing_the_model() -> None:
    (long,) = sounds(5000)
    start = encoder(ClipLength())
    windows = start.hearing("windows")
    with pytest.warns(UserWarning, match="mean of the embeddings"):
        z = windows.encode("audio", [long])
    with pytest.warns(UserWarning, match="the first samples"):
        assert not torch.allclose(start.encode("audio", [long]), z, atol=1e-3)
    assert windows.identity != start.identity and windows.read_seconds is None
    with pytest.raises(ConfigError, match="long: expected 'start'"):
        start.hearing("middle")  # type: ignore[arg-type]


def test_one_window_is_the_start_or_the_middle() -> None:
    (long,) = sounds(5000)
    for where, start in (("start", 0), ("center", 1500)):
        chosen = encoder(ClipLength(long=where))  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="samples"):
            z = chosen.encode("audio", [long])
        assert torch.equal(z, chosen.encode("audio", [long[start : start + SAMPLES]]))


def test_a_tower_with_fusion_hears_all_of_a_long_sound_always_alike_and_has_no_choice() -> None:
    cls = TOWERS.get("htsat_fusion")
    sizes = {"size": 32, "width": 8, "depths": (1, 1), "heads": (2, 2), "window": 4}
    torch.manual_seed(0)
    tower = cls.Config(seconds=0.25, mel=tiny.MEL, **sizes)
    fused = TowerEncoder(Model(ModelConfig(dim=8, towers={"audio": tower})), batch_rows=2)
    items = sounds(500, SAMPLES, 9000)
    with pytest.warns(UserWarning, match="all of it, as four spectrograms"):
        z = fused.encode("audio", items)
    assert torch.equal(fused.encode("audio", items), z) and fused.read_seconds is None
    ending = items[2].copy()
    ending[5000:] = 0
    assert not torch.allclose(fused.encode("audio", [ending])[0], z[2], atol=1e-4)
    with pytest.raises(ConfigError, match="there is no choice"):
        fused.hearing("center")
    with pytest.raises(ConfigError, match=r"length\.long has no effect"):
        parse(cls.Config, {"length": {"long": "windows"}})
