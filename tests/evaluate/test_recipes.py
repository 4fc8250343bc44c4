"""Sounds and scenes put together by a recipe: every part at its place, and limits that are named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.evaluate.recipes import Scene, Sound
from tests.evaluate.fakes import RATE, picture, tones

FILES = {"low": tones(1, 1), "high": tones(9, 9), "red": picture(200), "dark": picture(0)}


def fetch(key: str) -> bytes:
    if key not in FILES:
        raise SkipSample(f"{key}: not there")
    return FILES[key]


def loudest_hz(wave: np.ndarray) -> int:
    return round(np.abs(np.fft.rfft(wave)).argmax() * RATE / len(wave))


def sound(*parts: dict[str, Any], seconds: float = 1.0) -> Sound:
    return Sound.of({"sample_rate_hz": RATE, "seconds": seconds, "parts": list(parts)}, where="here")


def test_one_after_the_other_is_one_after_the_other() -> None:
    made = sound({"row": "low", "at_seconds": 0, "seconds": 0.5}, {"row": "high", "at_seconds": 0.5, "seconds": 0.5})
    wave, rate = soundfile.read(io.BytesIO(made.content(fetch)), dtype="float32")
    assert rate == RATE and len(wave) == RATE
    assert (loudest_hz(wave[: RATE // 2]), loudest_hz(wave[RATE // 2 :])) == (120, 280)
    assert np.abs(wave - made.wave(fetch)).max() < 1e-4


def test_overlaid_parts_add_up_at_their_levels_without_clipping() -> None:
    parts = [
        {"row": key, "at_seconds": 0, "seconds": 0.5, "rms_db": level} for key, level in (("low", -3), ("high", -9))
    ]
    wave = sound(*parts, seconds=0.5).wave(fetch)
    spectrum = np.abs(np.fft.rfft(wave))
    low, high = spectrum[round(120 * 0.5)], spectrum[round(280 * 0.5)]
    assert 20 * np.log10(low / high) == pytest.approx(6, abs=0.2) and np.abs(wave).max() == pytest.approx(1)
    quiet = sound({"row": "low", "at_seconds": 0, "seconds": 0.5, "rms_db": -20, "fade_seconds": 0}, seconds=0.5)
    assert 20 * np.log10(np.sqrt(np.mean(quiet.wave(fetch) ** 2))) == pytest.approx(-20, abs=0.01)


def test_ends_fade_and_short_sounds_are_padded() -> None:
    wave = sound({"row": "low", "at_seconds": 0.25, "seconds": 0.75}).wave(fetch)
    assert wave[: RATE // 4].max() == 0 and wave[-RATE // 4 :].max() == 0 and abs(wave[RATE // 4]) < 1e-6


def test_a_scene_has_its_pictures_in_their_boxes() -> None:
    tree = {"size": [20, 10], "parts": [{"row": "red", "box": [0, 0, 8, 10]}, {"row": "dark", "box": [12, 2, 8, 8]}]}
    pixels = np.asarray(Image.open(io.BytesIO(Scene.of(tree, where="here").content(fetch))))
    assert pixels.shape == (10, 20, 3)
    assert pixels[5, 4].tolist() == [200, 0, 0] and pixels[5, 15].tolist() == [0, 0, 0]
    assert pixels[5, 10].tolist() == [255, 255, 255] == pixels[0, 15].tolist()


@pytest.mark.parametrize(
    "part",
    [
        {"row": "low", "at_seconds": 0.8, "seconds": 0.5},
        {"row": "low", "at_seconds": -0.1, "seconds": 0.5},
        {"row": "low", "at_seconds": 0, "seconds": 0},
    ],
)
def test_parts_outside_of_the_whole_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="here: parts of a sound must lie within its 1 s"):
        sound(part)


def test_wrong_recipes_are_named() -> None:
    with pytest.raises(ConfigError, match="no recipe of a sound: TypeError"):
        sound({"row": "low", "at": 0})
    with pytest.raises(ConfigError, match="no recipe of a sound: KeyError 'parts'"):
        Sound.of({"seconds": 1}, where="here")
    with pytest.raises(ConfigError, match="no recipe of a scene"):
        Scene.of({"size": [20], "parts": []}, where="here")
    with pytest.raises(ConfigError, match="within 20 x 10 pixels"):
        Scene.of({"size": [20, 10], "parts": [{"row": "red", "box": [15, 0, 8, 10]}]}, where="here")
    with pytest.raises(SkipSample, match="nothing: not there"):
        sound({"row": "nothing", "at_seconds": 0, "seconds": 1}).wave(fetch)
