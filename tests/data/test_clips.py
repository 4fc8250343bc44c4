"""Sounds that are not as long as the window: how they are filled, cut, covered by windows, and fused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.data.collate import stacked_sounds
from mmcontrast.data.row_order import line_order
from mmcontrast.data.shards import open_shards
from mmcontrast.data.source import Source, SourceConfig
from mmcontrast.data.transforms.audio import AudioTransform, train_audio
from mmcontrast.data.transforms.clip import filled, heard, windows
from mmcontrast.errors import ConfigError
from mmcontrast.front_ends.base import heard_samples
from mmcontrast.front_ends.fusion import Fusion, blank_mels
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.specs import AudioSpec, ClipLength, Short
from tests.fixtures import RATE, make_set

RAMP = np.arange(1, 11, dtype=np.float32)
MEL = LogMelConfig(sample_rate_hz=RATE, fft_samples=256, window_samples=256, hop_samples=100, mels=16, high_hz=4000.0)
FUSION = Fusion(mel=MEL)


def spec(**length: object) -> AudioSpec:
    return AudioSpec(sample_rate_hz=10, seconds=1.0, length=ClipLength(**length))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("pad", [1, 2, 3, 4, 0, 0, 0, 0, 0, 0]),
        ("repeat", [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]),
        ("repeat_pad", [1, 2, 3, 4, 1, 2, 3, 4, 0, 0]),
    ],
)
def test_shorter_sounds_are_filled_and_longer_ones_stay(short: Short, expected: list[float]) -> None:
    assert filled(RAMP[:4], samples=10, short=short).tolist() == expected
    assert windows(RAMP[:4], spec(short=short))[0].tolist() == expected
    assert filled(RAMP, samples=4, short=short).tolist() == RAMP.tolist()
    assert filled(RAMP[:0], samples=3, short=short).tolist() == [0, 0, 0]


@pytest.mark.parametrize("short", ["pad", "repeat_pad"])
def test_padding_can_be_told_from_silence(short: Short) -> None:
    wave = torch.from_numpy(np.stack([filled(each, samples=10, short=short) for each in (RAMP[:4], RAMP[:1] * 0)]))
    assert heard_samples(wave).tolist() == ([4, 1] if short == "pad" else [8, 10])


def test_filling_is_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    extractor = transformers.ClapFeatureExtractor(max_length_s=1, sampling_rate=2400, fft_window_size=64)
    seen = []
    extractor._np_extract_fbank_features = lambda wave, filters: seen.append(wave) or wave
    wave = np.random.default_rng(0).standard_normal(1000)
    pairs: dict[Short, str] = {"pad": "pad", "repeat": "repeat", "repeat_pad": "repeatpad"}
    for ours, theirs in pairs.items():
        extractor._get_input_mel(wave, 2400, "rand_trunc", theirs)
        assert np.array_equal(filled(wave, samples=2400, short=ours), seen[-1])


def test_longer_sounds_are_heard_at_the_start_in_the_middle_or_in_windows_that_cover_them() -> None:
    wave = np.arange(27, dtype=np.float32)

    def starts(**length: object) -> list[float]:
        found = windows(wave, spec(**length))
        assert all(len(each) == 10 and (np.diff(each) == 1).all() for each in found)
        return [float(each[0]) for each in found]

    assert starts() == [0]
    assert starts(long="center") == [8]
    assert starts(long="windows") == [0, 8, 17]
    assert starts(long="windows", overlap=0.5) == [0, 4, 8, 12, 17]
    assert starts(long="windows", most_windows=2) == [0, 17]
    assert starts(long="windows", most_windows=1) == [8]
    assert starts(long="windows", most_windows=4, fewest_windows=4) == [0, 5, 11, 17]
    assert len(windows(wave[:10], spec(long="windows", fewest_windows=3))) == 1
    with pytest.raises(ValueError, match="over most_windows"):
        ClipLength(most_windows=2, fewest_windows=3)
    assert [len(windows(wave[:count], spec(long="windows"))) for count in (9, 10, 11, 20, 21)] == [1, 1, 2, 2, 3]


def test_only_the_start_is_decoded_where_nothing_else_is_heard() -> None:
    assert spec().read_seconds == 1.25
    assert spec(long="center").read_seconds is spec(long="windows").read_seconds is None
    assert AudioSpec(sample_rate_hz=10, seconds=1.0, fusion=FUSION).read_seconds is None


def test_training_cuts_in_the_middle_and_fills_as_the_source_or_else_the_tower_says() -> None:
    rng = np.random.default_rng(0)
    wave = np.arange(27, dtype=np.float32)
    assert train_audio(wave, AudioTransform(crop="center"), spec(), rng=rng).tolist() == list(range(8, 18))
    for own, tower, last in ((None, "pad", 0), (None, "repeat", 2), ("pad", "repeat", 0), ("repeat", "pad", 2)):
        view = train_audio(RAMP[:4], AudioTransform(short=own), spec(short=tower), rng=rng)
        assert view[-1] == last


def fused(seconds: float, **fields: object) -> dict[str, torch.Tensor]:
    wide = AudioSpec(sample_rate_hz=RATE, seconds=0.25, fusion=FUSION, **fields)  # type: ignore[arg-type]
    wave = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)
    (cell,) = heard(wave, wide)
    return cell


def test_fusion_hears_the_whole_and_three_stretches_of_a_longer_sound_and_the_same_four_times_of_others() -> None:
    short, long = fused(0.1), fused(1.3)
    assert short["mels"].shape == long["mels"].shape == (4, 16, MEL.frames(2000))
    assert not short["longer"] and long["longer"]
    assert all(torch.equal(each, short["mels"][0]) for each in short["mels"])
    assert not any(torch.allclose(each, long["mels"][0]) for each in long["mels"][1:])
    assert torch.equal(fused(1.3)["mels"], long["mels"])  # nothing is left to chance
    repeated = fused(0.1, length=ClipLength(short="repeat"))["mels"]
    assert float(repeated[0, :, -3:].mean()) > float(short["mels"][0, :, -3:].mean())


def test_fusion_draws_its_stretches_in_training_and_batches_are_maps(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "sounds", columns=("audio", "text"), rows=6)
    config = SourceConfig(manifest=manifest, audio=AudioTransform(gain_db=3))
    shards = open_shards(manifest)
    order = line_order(config, shards=shards, name="s", seed=0, block_rows=100, lanes=1)
    for seconds, longer in ((0.1, True), (0.5, False)):  # the clips are half a second long
        wide = AudioSpec(sample_rate_hz=RATE, seconds=seconds, fusion=FUSION)
        source = Source(config, shards=shards, name="s", seed=0, specs={"audio": wide}, order=order)
        cells = [source.draw(position, cache=False).values["audio"] for position in range(18)]
        batch = stacked_sounds(wide, cells)
        assert batch["longer"].tolist() == [longer] * 18
        assert batch["mels"].shape == (18, 4, 16, MEL.frames(wide.samples))
        again = source.draw(3, cache=False).values["audio"]
        assert torch.equal(again["mels"], cells[3]["mels"])
        empty = stacked_sounds(wide, [])
        assert {k: v.shape for k, v in empty.items()} == {
            k: v.shape for k, v in blank_mels(FUSION, rows=0, samples=wide.samples).items()
        }


def test_lengths_that_do_not_exist_are_named() -> None:
    with pytest.raises(ConfigError, match="long: expected 'start', 'center' or 'windows'"):
        parse(ClipLength, {"long": "middle"})
    with pytest.raises(ConfigError, match="overlap"):
        parse(ClipLength, {"overlap": 1.0})
