"""The audio front end: precision, levels, limits and masks."""

from __future__ import annotations

import pytest
import torch

from mmcontrast.config import parse, to_tree
from mmcontrast.errors import ConfigError
from mmcontrast.export.convolved_stft import ConvolvedFrontEnd
from mmcontrast.front_ends import FRONT_ENDS, base
from mmcontrast.front_ends.log_mel import LogMel, LogMelConfig
from mmcontrast.towers import TOWERS
from mmcontrast.towers.spectrogram import mask_spectrogram


def test_it_stays_in_float32_under_autocast() -> None:
    wave = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    mel = LogMel(LogMelConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mel(wave)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, mel(wave))


def test_silence_is_the_floor_and_ten_times_the_energy_is_ten_decibels() -> None:
    mel = LogMel(LogMelConfig(mean_db=0.0, deviation_db=1.0))
    assert torch.allclose(mel(torch.zeros(1, 4000)), torch.tensor(-100.0))  # decibels of 1e-10
    wave = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mel(10**0.5 * wave), mel(wave) + 10, atol=1e-3, rtol=0)


def test_mean_and_deviation_are_an_affine_map() -> None:
    wave = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    raw = LogMel(LogMelConfig(mean_db=0.0, deviation_db=1.0))(wave)
    torch.testing.assert_close(LogMel(LogMelConfig(mean_db=-20.0, deviation_db=5.0))(wave), (raw + 20) / 5)


def test_power_one_is_the_magnitude() -> None:
    config = LogMelConfig(power=1.0, mean_db=0.0, deviation_db=1.0)
    wave = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    mel = LogMel(config)
    spectrum = torch.stft(
        wave, config.fft_samples, config.hop_samples, config.window_samples,
        torch.hann_window(config.window_samples), return_complex=True,
    ).abs()  # fmt: skip
    expected = 10 * (mel.filters.T @ spectrum).clamp_min(config.floor).log10()
    torch.testing.assert_close(mel(wave), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"high_hz": 9000.0}, "half of sample_rate_hz"),
        ({"high_hz": 9000.0, "sample_rate_hz": 44_100, "filter_rate_hz": 16_000}, "half of filter_rate_hz"),
        ({"low_hz": 8000.0}, "not below high_hz"),
        ({"window_samples": 2048}, "window_samples"),
    ],
)
def test_fields_that_do_not_fit_are_named(fields: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(LogMelConfig, fields)


def test_masks_are_one_band_and_one_run_of_each_row() -> None:
    torch.manual_seed(0)
    masked = mask_spectrogram(torch.ones(64, 20, 30), mels=5, frames=7) == 0
    band, run = masked.all(dim=2), masked.all(dim=1)  # (B, M), (B, frames)
    assert torch.equal(masked, band[:, :, None] | run[:, None, :])
    for lines, widest in ((band, 5), (run, 7)):
        assert set(lines.sum(dim=1).tolist()) == set(range(widest + 1))  # every width occurs in 64 rows
        edges = lines.int().diff(dim=1).abs().sum(dim=1) + lines[:, 0].int() + lines[:, -1].int()
        assert int(edges.max()) == 2  # in one piece
    assert len(torch.unique(band, dim=0)) > 10  # each row has its own


def test_no_mask_is_no_change() -> None:
    mel = torch.ones(2, 4, 5)
    assert torch.equal(mask_spectrogram(mel, mels=0, frames=0), mel)


def test_sixteen_bits_cut_towards_zero_and_clip() -> None:
    wave = torch.tensor([[1.7, -3.0, 0.9 / 32767, -0.9 / 32767, 1.9 / 32767, 0.0]])
    config = LogMelConfig(int16=True, border="none")
    expected = torch.tensor([[1.0, -1.0, 0.0, 0.0, 1 / 32767, 0.0]])
    torch.testing.assert_close(LogMel(config).prepared(wave), expected)


def test_frames_are_as_many_as_the_config_says() -> None:
    wave = torch.zeros(1, 5003)
    for fields in ({}, {"border": "none"}, {"border": "zeros", "drop_last": True}, {"fft_samples": 1023}):
        config = LogMelConfig(**fields)  # type: ignore[arg-type]
        assert LogMel(config)(wave).shape[2] == config.frames(5003), fields


@pytest.mark.parametrize("name", FRONT_ENDS.names())
def test_without_complex_numbers_every_front_end_gives_the_same(name: str) -> None:
    inner = FRONT_ENDS.build(FRONT_ENDS.get(name).Config())
    wave = 0.1 * torch.randn(2, 6001, generator=torch.Generator().manual_seed(0))
    wave[1, 4000:] = -0.0  # the second sound is padded
    torch.testing.assert_close(ConvolvedFrontEnd(inner)(wave), inner(wave), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["laion", "whisper", "imagebind", "beats"])
@pytest.mark.parametrize(("rows", "samples"), [(1, 7000), (3, 7000), (2, 900), (5, 1200)])
def test_blocks_of_frames_and_rows_are_one_whole(
    name: str, rows: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end = FRONT_ENDS.build(FRONT_ENDS.get(name).Config())
    wave = 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))
    prepared = front_end.prepared(wave)
    whole = front_end.emptied(front_end.finished(front_end.energies(prepared)), wave)
    for block_frames in (1, 3, 8, 1024):
        monkeypatch.setattr(base, "BLOCK_FRAMES", block_frames)
        torch.testing.assert_close(front_end(wave), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["log_mel", "laion", "laion_fusion", "msclap_2022", "msclap_2023", "whisper"])
def test_frequencies_that_are_left_out_are_read_by_no_filter(name: str) -> None:
    front_end = FRONT_ENDS.build(FRONT_ENDS.get(name).Config())
    assert not front_end.filters[front_end.read :].any() and front_end.filters[front_end.read - 2].any()


def test_a_map_without_a_type_is_a_log_mel_and_a_name_is_a_preset() -> None:
    tower = TOWERS.get("small_audio_cnn").Config
    assert type(parse(tower, {"mel": {"mels": 32}}).mel) is LogMelConfig
    assert parse(tower, {"mel": "laion"}).mel.int16
    changed = parse(tower, {"mel": {"type": "imagebind", "mels": 64}}).mel
    assert (changed.mels, changed.fixed_frames) == (64, 204)
    preset = FRONT_ENDS.get("msclap_2023").Config()
    assert parse(tower, {"mel": to_tree(preset)}).mel == preset
    with pytest.raises(ConfigError, match="Did you mean 'laion'"):
        parse(tower, {"mel": "lain"})
