"""Pictures and sounds decoded in part: the same crop as when they are decoded whole."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.audio import AudioTransform, train_audio
from mmcontrast.data.transforms.image import ImageTransform, train_image
from mmcontrast.data.transforms.jpeg import train_jpeg
from mmcontrast.data.transforms.window import random_window
from mmcontrast.errors import SkipSample
from mmcontrast.specs import AudioSpec

SPEC = AudioSpec(sample_rate_hz=8000, seconds=0.25)


def jpeg(width: int, height: int, mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(60, 50), (300, 200), (700, 900), (33, 500)])
def test_a_scaled_view_shows_what_the_exact_one_shows(size: tuple[int, int]) -> None:
    content = jpeg(*size)
    config = ImageTransform(scale=(0.4, 1.0), flip=0.5, color=0.3, grayscale=0.2)
    for seed in range(5):
        make_rng = partial(np.random.default_rng, seed)
        scaled = train_jpeg(content, config, size=32, make_rng=make_rng, key="k")
        exact = train_image(decode_image(content, key="k"), config, size=32, rng=make_rng())
        assert scaled.shape == exact.shape == (3, 32, 32) and scaled.dtype == np.uint8
        # Crops are rounded to whole pixels of the scaled picture: at these sizes, up to a pixel and a half of 32.
        assert np.abs(scaled.astype(int) - exact).mean() < 8


def test_grey_and_four_ink_pictures_become_rgb_and_damage_is_named() -> None:
    make_rng = partial(np.random.default_rng, 0)
    for mode in ("L", "CMYK"):
        view = train_jpeg(jpeg(80, 80, mode), ImageTransform(), size=16, make_rng=make_rng, key="k")
        assert view.shape == (3, 16, 16)
    with pytest.raises(SkipSample, match="some-key"):
        train_jpeg(jpeg(80, 80)[:300], ImageTransform(), size=16, make_rng=make_rng, key="some-key")


def sound(frames: int, *, rate_hz: int = 8000, **options: str) -> bytes:
    stream = io.BytesIO()
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, 2))
    soundfile.write(stream, wave, rate_hz, **({"format": "FLAC", "subtype": "PCM_16"} | options))
    return stream.getvalue()


COMPRESSED = [
    {"format": "OGG", "subtype": "VORBIS"},
    {"format": "OGG", "subtype": "OPUS"},
    {"format": "MP3", "subtype": "MPEG_LAYER_III"},
]


@pytest.mark.parametrize("options", [{}, {"format": "WAV", "subtype": "PCM_24"}, {"format": "AIFF"}, *COMPRESSED])
@pytest.mark.parametrize("crop", ["random", "start", "center"])
def test_a_window_is_bit_for_bit_the_crop_of_the_whole(options: dict[str, str], crop: str) -> None:
    content, config = sound(9000, **options), AudioTransform(crop=crop, gain_db=6, tilt=0.5)  # type: ignore[arg-type]
    whole = decode_audio(content, key="k", sample_rate_hz=8000)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        window = random_window(content, config, SPEC, rng=rng)
        assert window is not None and len(window) == SPEC.samples
        got = train_audio(window, config, SPEC, rng=rng)
        expected = train_audio(whole, config, SPEC, rng=np.random.default_rng(seed))
        # mpg123 rounds its last bit by where a call to it ends.
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 if options.get("format") == "MP3" else 0)


@pytest.mark.parametrize("rate_hz", [5000, 11025, 16000, 48000])
def test_a_window_at_another_rate_is_the_crop_of_the_whole_resampled(rate_hz: int) -> None:
    content, config = sound(5 * rate_hz, rate_hz=rate_hz), AudioTransform()
    whole = decode_audio(content, key="k", sample_rate_hz=8000)
    for seed in range(4):
        window = random_window(content, config, SPEC, rng=np.random.default_rng(seed))
        assert window is not None
        expected = train_audio(whole, config, SPEC, rng=np.random.default_rng(seed))
        np.testing.assert_allclose(window, expected, atol=1e-5)  # of full scale: a third of a 16-bit level


def test_no_more_is_decoded_than_what_leads_to_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = 20 * 8000
    read: list[int] = []
    inner = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, count: int, **options: Any) -> np.ndarray:
        read.append(count)
        return inner(self, count, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for options, most in (
        ({}, SPEC.samples),
        (COMPRESSED[0], SPEC.samples),
        (COMPRESSED[1], frames),
        (COMPRESSED[2], frames),
    ):
        content = sound(frames, **options)
        for seed in range(3):
            read.clear()
            assert random_window(content, AudioTransform(), SPEC, rng=np.random.default_rng(seed)) is not None
            start = int(np.random.default_rng(seed).integers(0, frames - SPEC.samples + 1))
            assert sum(read) == min(most, start + SPEC.samples) or sum(read) == SPEC.samples == most


def test_a_compressed_sound_far_over_full_scale_is_left_to_the_decoder_that_names_it() -> None:
    content = sound(9000, **COMPRESSED[0])
    quiet = Limits(audio_amplitude=1.01)
    loud = io.BytesIO()
    soundfile.write(loud, 2 * np.ones((9000, 1)), 8000, format="OGG", subtype="VORBIS")
    make = partial(random_window, config=AudioTransform(), spec=SPEC, limits=quiet)
    assert make(content, rng=np.random.default_rng(0)) is not None
    assert make(loud.getvalue(), rng=np.random.default_rng(0)) is None


def test_the_whole_is_decoded_where_a_window_would_differ() -> None:
    def window(content: bytes, **fields: float) -> np.ndarray | None:
        return random_window(content, AudioTransform(**fields), SPEC, rng=np.random.default_rng(0))  # type: ignore[arg-type]

    assert window(sound(9000)) is not None
    for content in (
        sound(1500),
        sound(3500, rate_hz=16000),
        sound(9000, format="WAV", subtype="FLOAT"),
        sound(9000, **COMPRESSED[2])[:1500],
        b"<html>",
    ):
        assert window(content) is None
    assert window(sound(9000), shift=0.1) is None and window(sound(9000), speed=0.1) is None


def test_the_fast_mode_shows_the_same_more_coarsely() -> None:
    content, scale = jpeg(90, 70), (0.9, 1.0)
    make_rng = partial(np.random.default_rng, 0)
    scaled, fast = (
        train_jpeg(content, ImageTransform(scale=scale, decode=mode), size=64, make_rng=make_rng, key="k").astype(int)
        for mode in ("scaled", "fast")  # type: ignore[arg-type]
    )
    assert 0 < np.abs(scaled - fast).mean() < 4
