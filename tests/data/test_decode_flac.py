"""The faster FLAC decoder gives libsndfile's samples, and leaves whatever is wrong with a file to libsndfile."""

from __future__ import annotations

import io
import random
from collections import Counter

import numpy as np
import pytest
import soundfile

from mmcontrast.data import decode_flac, decode_soundfile
from mmcontrast.data.decode import decode_audio
from mmcontrast.data.limits import Limits
from mmcontrast.data.sound_bytes import SoundBytes
from mmcontrast.errors import SkipSample
from tests.fuzz.media import MUTATIONS

pytest.importorskip("miniaudio")
RATE_HZ = 16_000


def flac(*, frames: int = 6_000, channels: int = 1, subtype: str = "PCM_16", seed: int = 0, title: str = "") -> bytes:
    """Tones in noise; some of it silent, so that frames are of different kinds."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / RATE_HZ
    wave = 0.4 * np.sin(2 * np.pi * rng.uniform(80, 4000, channels) * time) + 0.05 * rng.standard_normal(
        (frames, channels)
    )
    wave[frames // 3 : frames // 2] = 0
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", RATE_HZ, channels, subtype=subtype, format="FLAC") as sound:
        if title:
            sound.title = title
        sound.write(wave)
    return stream.getvalue()


def outcome(content: bytes, *, start_seconds: float = 0.0, limits: Limits | None = None) -> bytes | str:
    """The samples, or what was said of them."""
    try:
        wave = decode_audio(
            content, key="row", sample_rate_hz=RATE_HZ, start_seconds=start_seconds, limits=limits or Limits()
        )
    except SkipSample as error:
        return str(error)
    return wave.tobytes()


def alone(content: bytes, monkeypatch: pytest.MonkeyPatch, **arguments: float) -> bytes | str:
    """The outcome without the decoder."""
    with monkeypatch.context() as patched:
        patched.setattr(decode_soundfile, "flac_header", lambda _: None)
        return outcome(content, **arguments)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("frames", [1, 4_096, 6_000])
def test_samples_are_libsndfiles(subtype: str, channels: int, frames: int) -> None:
    content = flac(frames=frames, channels=channels, subtype=subtype, title="a name")
    expected = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]
    header = decode_flac.flac_header(content)
    assert header == decode_flac.FlacHeader(rate_hz=RATE_HZ, channels=channels, frames=frames)
    found = decode_flac.read_window(content, header, start_seconds=0.0, seconds=1.0)
    assert found is not None and np.array_equal(found, expected)


def test_a_window_is_libsndfiles(monkeypatch: pytest.MonkeyPatch) -> None:
    content = flac(channels=2)
    header = decode_flac.flac_header(content)
    assert header is not None
    assert decode_flac.read_window(content, header, start_seconds=0.05, seconds=1.0) is not None
    assert outcome(content, start_seconds=0.05) == alone(content, monkeypatch, start_seconds=0.05)
    assert decode_flac.read_window(content, header, start_seconds=0.0, seconds=0.1) is None  # seeking is faster


@pytest.mark.parametrize("place", ["headers", "frames", "end"])
def test_damage_has_the_same_outcome_with_either_decoder(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, draw, used = flac(title="a name"), random.Random(place), 0
    for _ in range(300):
        mutant = bytearray(content)
        if place == "end":
            mutant = mutant[: draw.randrange(len(content))]
        else:
            first, last = (0, 140) if place == "headers" else (140, len(content))
            for _ in range(draw.choice([1, 1, 3])):
                mutant[draw.randrange(first, last)] ^= 1 << draw.randrange(8)
        assert outcome(bytes(mutant)) == alone(bytes(mutant), monkeypatch)
        used += not isinstance(outcome(bytes(mutant)), str)
    assert (used > 50) == (place == "headers")  # and some of them were read after all


def test_a_header_is_what_libsndfile_says_or_nothing() -> None:
    content, agreed = flac(title="a name"), 0
    for bit in range(8 * 90):
        mutant = bytearray(content)
        mutant[bit // 8] ^= 1 << bit % 8
        header = decode_flac.flac_header(bytes(mutant))
        if header is not None:
            info = soundfile.info(SoundBytes(bytes(mutant)))
            assert header == decode_flac.FlacHeader(info.samplerate, info.channels, info.frames)
            agreed += 1
    assert agreed > 300


def test_a_limit_on_the_loudest_sample_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(audio_amplitude=0.01)
    assert "full scale" in str(outcome(flac(), limits=limits))


@pytest.mark.slow
def test_what_libsndfile_refuses_is_refused_or_read_as_the_undamaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        flac(frames=6_000 + 900 * channels, channels=channels, seed=channels, title="x") for channels in (1, 2, 3)
    ]
    whole = [outcome(content) for content in files]
    seen: Counter[str] = Counter()
    for seed in range(3_000):
        draw = random.Random(seed)
        mutant = draw.choice(MUTATIONS)(files[seed % 3], draw.choice(files), draw)
        found, expected = outcome(mutant), alone(mutant, monkeypatch)
        if found == expected:
            seen["read" if isinstance(found, bytes) else "refused"] += 1
        else:
            assert isinstance(expected, str) and found == whole[seed % 3], seed
            seen["mended"] += 1
    assert seen["read"] > 100 and seen["refused"] > 1_000 and seen["mended"] < 30
