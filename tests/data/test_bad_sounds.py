"""Whatever is called a sound either decodes to what it says, or is refused with a named cause."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from mmcontrast.data.decode import decode_audio
from mmcontrast.data.decode_soundfile import mono
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.clip import windows
from mmcontrast.errors import SkipSample
from mmcontrast.specs import AudioSpec, ClipLength

RATE = 8000


def encoded(wave: np.ndarray, *, rate_hz: int = RATE, **options: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate_hz, **({"format": "WAV", "subtype": "PCM_16"} | options))
    return stream.getvalue()


def sine(seconds: float = 0.5, *, rate_hz: int = RATE, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "audio_decode"),
        (b"a caption, not a sound\n" * 50, "audio_decode"),
        (encoded(np.zeros(0)), "audio_empty"),
        (encoded(np.array([0.1, np.nan, 0.2]), subtype="FLOAT"), "audio_not_finite"),
        (encoded(np.array([0.1, np.inf, 0.2]), subtype="DOUBLE"), "audio_not_finite"),
        (encoded(np.array([0.1, 1e30, 0.2]), subtype="FLOAT"), "audio_amplitude"),
        (encoded(np.zeros((9, 40))), "audio_rate"),
        (encoded(np.zeros(9), rate_hz=900), "audio_rate"),
        (encoded(sine(), format="FLAC")[:30], "audio_decode"),
        (encoded(sine(), format="OGG", subtype="VORBIS")[:40], "audio_decode"),
    ],
    ids=["nothing", "text", "no samples", "NaN", "infinite", "absurd", "40 channels", "900 Hz", "FLAC", "Ogg"],
)
def test_what_is_no_sound_is_refused_by_its_key_and_cause(content: bytes, cause: str) -> None:
    with pytest.raises(SkipSample, match="some-key") as caught:
        decode_audio(content, key="some-key", sample_rate_hz=RATE)
    assert caught.value.cause == cause


def test_a_header_that_points_before_the_first_byte_is_refused_without_a_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    content = encoded(sine(), format="AIFF").replace(b"SSND", b"SS\0D")  # libsndfile then seeks to -1
    with pytest.raises(SkipSample, match="some-key"):
        decode_audio(content, key="some-key", sample_rate_hz=RATE)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("options", [{"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3"}])
def test_a_sound_cut_off_in_the_middle_is_refused_or_heard_up_to_there(options: dict[str, str]) -> None:
    if options["format"] == "MP3":
        options = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    wave = sine(2)
    content = encoded(wave, **options)
    try:
        heard = decode_audio(content[: len(content) // 2], key="k", sample_rate_hz=RATE)
    except SkipSample as error:
        assert error.cause == "audio_decode"
    else:
        assert 0 < len(heard) <= len(wave) + 2000 and np.isfinite(heard).all()
        assert np.abs(heard[:2000] - decode_audio(content, key="k", sample_rate_hz=RATE)[:2000]).max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 8, 9])
def test_channels_are_averaged_as_numpy_does_to_the_bit(channels: int) -> None:
    block = np.random.default_rng(channels).standard_normal((4_000, channels)).astype(np.float32)
    block[:9] = np.float32(1e-45)
    block[9] = -0.0
    expected = block.mean(axis=1) if channels > 1 else block[:, 0]
    assert mono(block).tobytes() == expected.tobytes()


def test_eight_bits_high_rates_and_many_channels_are_heard_as_what_they_are() -> None:
    expected = sine()
    eight = decode_audio(encoded(expected, subtype="PCM_U8"), key="k", sample_rate_hz=RATE)
    assert np.abs(eight - expected).max() < 1 / 128
    high = decode_audio(encoded(sine(rate_hz=96_000), rate_hz=96_000), key="k", sample_rate_hz=RATE)
    assert len(high) == len(expected) and np.abs(high - expected)[400:-400].max() < 1e-3
    seven = np.zeros((4000, 7))
    seven[:, 3] = expected
    many = decode_audio(encoded(seven), key="k", sample_rate_hz=RATE)
    assert np.abs(many - expected / 7).max() < 1e-4  # the mean of all
    clipped = decode_audio(encoded(np.clip(4 * expected, -1, 1)), key="k", sample_rate_hz=RATE)
    assert np.abs(clipped).max() <= 1 and np.mean(np.abs(clipped) > 0.99) > 0.3


@pytest.mark.parametrize(("long", "decoded", "count"), [("start", 2250, 1), ("windows", 60_000, 8)])
def test_of_ten_hours_only_the_limit_is_decoded_and_only_so_many_windows_are_heard(
    long: Any, decoded: int, count: int
) -> None:
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 1000, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(36):
            sound.write(np.zeros(1_000_000, np.int16))
    spec = AudioSpec(sample_rate_hz=1000, seconds=2.0, length=ClipLength(long=long, most_windows=8))
    wave = decode_audio(
        stream.getvalue(), key="k", sample_rate_hz=1000, max_seconds=spec.read_seconds, limits=Limits(audio_seconds=60)
    )
    assert len(wave) == decoded
    assert len(windows(wave, spec)) == count
