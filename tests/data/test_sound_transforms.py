"""Rooms, backgrounds and mixtures: ratios are what was asked for, captions follow, silence stays silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcontrast.config import parse
from mmcontrast.data.limits import Limits
from mmcontrast.data.row_order import line_order
from mmcontrast.data.shards import open_shards
from mmcontrast.data.source import Source, SourceConfig, check_source
from mmcontrast.data.storage import Storage
from mmcontrast.data.transforms.audio import AudioTransform, train_audio
from mmcontrast.data.transforms.background import Background, with_background
from mmcontrast.data.transforms.captions import Captions
from mmcontrast.data.transforms.mix import Mix, mixed_wave
from mmcontrast.data.transforms.other_sounds import draw_sound
from mmcontrast.data.transforms.reverb import Reverb, made_up_room, with_reverb
from mmcontrast.errors import ConfigError, ShardError
from mmcontrast.specs import AudioSpec
from tests.data.damage import overwrite
from tests.data.test_loader import SPECS
from tests.fixtures import RATE, make_set

SPEC = AudioSpec(sample_rate_hz=RATE, seconds=0.25)


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def decibels(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave))))


@pytest.mark.parametrize("length", [500, 2000, 9000])
def test_a_background_lies_so_many_decibels_below(length: int) -> None:
    wave, other = noise(2000), noise(length, seed=1, level=0.7)
    config = Background(manifest="x", snr_db=(7.0, 7.0))
    changed = with_background(wave, other, config, rng=np.random.default_rng(0))
    assert decibels(wave) - decibels(changed - wave) == pytest.approx(7, abs=1e-3)
    for silent, beside in ((np.zeros(2000, np.float32), other), (wave, np.zeros(length, np.float32))):
        kept = with_background(silent, beside, config, rng=np.random.default_rng(0))
        assert np.array_equal(kept, silent)


def test_a_room_is_a_plain_convolution_of_the_same_power_with_the_sound_in_its_place() -> None:
    wave = noise(400)
    response = np.array([0.0, 0.2, 1.0, 0.0, -0.4, 0.1])
    expected = np.zeros(400)
    for place in range(400):
        for delay in range(len(response)):
            source = place + 2 - delay  # the loudest place is the sound itself
            expected[place] += response[delay] * wave[source] if 0 <= source < 400 else 0.0
    expected *= np.sqrt(np.sum(np.square(wave)) / np.sum(np.square(expected)))
    np.testing.assert_allclose(with_reverb(wave, response), expected, atol=1e-6)
    assert np.array_equal(with_reverb(wave, np.zeros(5)), wave)
    assert not with_reverb(np.zeros(50), response).any()


def test_made_up_rooms_decay_by_60_decibels_in_their_time_with_the_ratio_that_was_asked_for() -> None:
    config = Reverb(decay_seconds=(0.5, 0.5), direct_db=(6.0, 6.0))
    room = made_up_room(config, sample_rate_hz=RATE, rng=np.random.default_rng(0))
    assert room[0] == 1 and len(room) == RATE // 2
    assert 10 * np.log10(1 / np.sum(np.square(room[1:]))) == pytest.approx(6, abs=1e-6)
    first, last = (decibels(part) for part in (room[1:401], room[-400:]))
    assert first - last == pytest.approx(54, abs=2)  # nine tenths of the way, from the middles of both parts


def test_transforms_draw_from_another_set_and_pass_over_its_damaged_rows(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "sounds", columns=("audio", "text"), rows=8)
    wave = noise(4000)
    plain = train_audio(wave, AudioTransform(crop="start"), SPEC, rng=np.random.default_rng(0))
    fields: list[dict[str, Any]] = [
        {"background": Background(manifest=manifest, probability=1.0)},
        {"reverb": Reverb(manifest=manifest, probability=1.0)},
        {"reverb": Reverb(probability=1.0)},
    ]
    for field in fields:
        config = AudioTransform(crop="start", **field)
        views = [train_audio(wave, config, SPEC, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
        assert views[0].shape == plain.shape and np.array_equal(views[0], views[1])
        assert not np.allclose(views[0], plain) and not np.allclose(views[0], views[2])
    for name, damaged in (("half", range(4, 8)), ("all", range(8))):
        other = make_set(tmp_path / name, columns=("audio", "text"), rows=8)
        overwrite(other, damaged, "wav")
        if name == "half":
            assert len(draw_sound(other, np.random.default_rng(0), sample_rate_hz=RATE)) == RATE // 2
        else:
            with pytest.raises(ShardError, match="10 rows of .* do not decode"):
                draw_sound(other, np.random.default_rng(0), sample_rate_hz=RATE)


def test_sets_to_draw_from_are_checked_before_training(tmp_path: Path) -> None:
    sounds = make_set(tmp_path / "sounds", columns=("audio", "text"), rows=2)
    pictures = make_set(tmp_path / "pictures", columns=("image", "text"), rows=2)
    audio = AudioTransform(background=Background(manifest=pictures), reverb=Reverb(manifest=str(tmp_path / "nothing")))
    problems = check_source("s", SourceConfig(manifest=sounds, audio=audio), storage=Storage(), limits=Limits())
    assert len(problems) == 2
    assert "data.sources.s.audio.background.manifest" in problems[0] and "no column of sounds" in problems[0]
    assert "data.sources.s.audio.reverb.manifest" in problems[1] and "nothing" in problems[1]


@pytest.mark.parametrize("lengths", [(2000, 2000), (500, 9000), (9000, 500)])
def test_a_mixture_has_both_at_the_ratio_within_full_scale(lengths: tuple[int, int]) -> None:
    first, second = noise(lengths[0], level=0.3), noise(lengths[1], seed=1, level=0.01)
    config = Mix(probability=1.0, snr_db=(3.0, 3.0), delay=0.0)
    both = mixed_wave(first, second, config, samples=2000, rng=np.random.default_rng(0))
    assert both.shape == (2000,) and both.dtype == np.float32 and np.abs(both).max() <= 1
    if lengths == (2000, 2000):
        scale = np.linalg.lstsq(np.stack([first, second], axis=1), both, rcond=None)[0]
        np.testing.assert_allclose(both, scale[0] * first + scale[1] * second, atol=1e-6)
        assert decibels(scale[0] * first) - decibels(scale[1] * second) == pytest.approx(3, abs=1e-3)
    late = Mix(probability=1.0, delay=1.0)
    alone = mixed_wave(np.zeros(0, np.float32), second, late, samples=2000, rng=np.random.default_rng(0))
    assert not alone.any()  # nothing to be louder than: the ratio to silence is no level


def test_captions_are_joined_in_either_order_without_full_stops() -> None:
    pair = Captions(["A dog barks."]), Captions(["rain", "drizzle"])
    rng = np.random.default_rng(0)
    said = {Mix(probability=1.0).caption(*pair, rng=rng) for _ in range(50)}
    assert said == {f"{a} and {b}" for x in ("rain", "drizzle") for a, b in (("A dog barks", x), (x, "A dog barks"))}
    with pytest.raises(ConfigError, match="first"):
        parse(Mix, {"probability": 0.5, "template": "{first}"})
    with pytest.raises(ConfigError, match="low <= high"):
        parse(Mix, {"probability": 0.5, "snr_db": [5.0, -5.0]})


def test_rows_of_a_source_are_mixed_as_often_as_asked_and_keep_their_group_unless_they_are(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "sounds", columns=("audio", "text"), rows=24)
    config = SourceConfig(manifest=manifest, mix=Mix(probability=0.5), group="thing")
    shards = open_shards(manifest)
    order = line_order(config, shards=shards, name="s", seed=0, block_rows=100, lanes=1)
    specs = {name: SPECS[name] for name in ("audio", "text")}
    source = Source(config, shards=shards, name="s", seed=0, specs=specs, order=order)
    rows = [source.draw(position, cache=True) for position in range(96)]
    assert 20 < sum(" and " in row.values["text"] for row in rows) < 60
    assert len({row.group for row in rows}) > 4  # a mixture is a group of its own
    again = Source(config, shards=shards, name="s", seed=0, specs=specs, order=order)
    for position in (5, 40):
        same = again.draw(position, cache=False)
        assert same.values["text"] == rows[position].values["text"]
        assert np.array_equal(same.values["audio"], rows[position].values["audio"])


def test_rows_with_a_picture_are_never_mixed(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "both", columns=("image", "audio", "text"), rows=6)
    config = SourceConfig(manifest=manifest, mix=Mix(probability=1.0))
    shards = open_shards(manifest)
    order = line_order(config, shards=shards, name="s", seed=0, block_rows=100, lanes=1)
    source = Source(config, shards=shards, name="s", seed=0, specs=SPECS, order=order)
    assert not any(" and " in source.draw(position, cache=False).values["text"] for position in range(6))
