"""Bytes to pixels and samples, with limits checked before anything large is allocated."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from mmcontrast.data.decode_flac import flac_header
from mmcontrast.data.limits import Limits
from mmcontrast.data.sound_bytes import SoundBytes
from mmcontrast.errors import SkipSample

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
BLOCK_SAMPLES = 1 << 19  # of all channels, decoded at once: ten seconds at 48 kHz fit
SLOW_HZ = 8000  # rate at which a sound is decoded that is only measured
# What Pillow, libsndfile and FFmpeg raise on damaged files: SyntaxError on broken PNG chunks, TypeError on one real
# TIFF, MemoryError on forged frame counts.  The rest are checks inside their Python code.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    MemoryError,
    OverflowError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode_image(content: bytes, *, key: str, limits: Limits | None = None) -> Image.Image:
    """Decode a picture to RGB, transparency over white, 16-bit grey to 8; the first frame of an animation.

    Raises:
        SkipSample: not a picture of a known format, damaged, or over a limit.
    """
    with _named_failures(key, cause="image_decode", what="picture"):
        image = open_image(content, key=key, limits=limits)
        return to_rgb(image, key=key)


def open_image(content: bytes, *, key: str, limits: Limits | None = None) -> Image.Image:
    """Read a picture's header alone; its pixels are not decoded yet.

    Raises:
        SkipSample: not a picture of a known format, or over a limit.
    """
    limits = limits or Limits()
    with _named_failures(key, cause="image_format", what="picture"):
        image: Image.Image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
    width, height = image.size
    if not fits(width, height, limits):
        raise SkipSample(f"{key}: picture of {width} x {height} pixels is over the limit", cause="image_pixels")
    return image


def fits(width: int, height: int, limits: Limits) -> bool:
    """Whether a picture of so many pixels may be decoded."""
    return width * height <= limits.image_pixels and max(width, height) <= limits.image_side


def to_rgb(image: Image.Image, *, key: str) -> Image.Image:
    """Decode an opened picture's pixels to RGB.

    Raises:
        SkipSample: damaged, or of a mode without a meaning as a picture (floats).
    """
    with _named_failures(key, cause="image_decode", what="picture"):
        if image.mode.startswith("I;16") or image.mode == "I":
            # Pillow's own conversion clips at 255: everything but the darkest 1/256 would be white.
            values = np.asarray(image).astype(np.int64)
            deep = image.mode.startswith("I;16") or int(values.max(initial=0)) > 255
            grey = np.clip(values >> 8 if deep else values, 0, 255).astype(np.uint8)
            return Image.fromarray(grey).convert("RGB")
        if image.mode == "F":
            raise SkipSample(f"{key}: picture of floating-point pixels has no known range", cause="image_mode")
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")


def decode_audio(
    content: bytes,
    *,
    key: str,
    sample_rate_hz: int,
    max_seconds: float | None = None,
    start_seconds: float = 0.0,
    limits: Limits | None = None,
) -> np.ndarray:
    """Decode a window of a sound to mono float32 at ``sample_rate_hz``, shape (samples,).

    Args:
        max_seconds: length of the window; ``limits.audio_seconds`` is the most.
        start_seconds: where it begins.  Containers that can seek decode nothing before it.

    Raises:
        SkipSample: not a sound that is read, empty, not finite, or over a limit.
    """
    limits = limits or Limits()
    seconds = min(limits.audio_seconds, max_seconds or limits.audio_seconds)
    container = fallback_container(content)
    with _named_failures(key, cause="audio_decode", what="sound"):
        if container is not None:
            from mmcontrast.data.decode_av import read_window
        else:
            from mmcontrast.data.decode_soundfile import read_window
        wave, rate_hz = read_window(content, key=key, start_seconds=start_seconds, seconds=seconds, limits=limits)
        if len(wave) == 0:
            raise SkipSample(f"{key}: sound holds no samples", cause="audio_empty")
        return resample(wave, from_hz=rate_hz, to_hz=sample_rate_hz)


def audio_seconds(content: bytes, *, key: str) -> float:
    """Length of a sound, by its header where libsndfile reads it, else by decoding it.

    Raises:
        SkipSample: not a sound that is read.
    """
    if fallback_container(content) is not None:
        return len(decode_audio(content, key=key, sample_rate_hz=SLOW_HZ)) / SLOW_HZ
    header = flac_header(content)
    if header is not None:
        return header.frames / header.rate_hz
    import soundfile

    with _named_failures(key, cause="audio_decode", what="sound"):
        return float(soundfile.info(SoundBytes(content)).duration)


def fallback_container(content: bytes) -> str | None:
    """FFmpeg's name of a container that libsndfile does not read; None for all others.

    Told by its first bytes, never guessed by FFmpeg: playlists and other formats that open further files stay out.
    """
    if content[4:8] == b"ftyp":
        return "mov"
    if content[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if content[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "aac"
    if content[:4] == b"wvpk":
        return "wv"
    if content[:16] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c":
        return "asf"
    return None


def check_rate(key: str, rate_hz: int, channels: int, limits: Limits) -> None:
    """Refuse sample rates and channel counts outside of the limits.

    Raises:
        SkipSample: they are.
    """
    if not limits.audio_lowest_hz <= rate_hz <= limits.audio_highest_hz or not 1 <= channels <= limits.audio_channels:
        raise SkipSample(f"{key}: {rate_hz} Hz with {channels} channels is outside the limits", cause="audio_rate")


def check_samples(key: str, block: np.ndarray, limits: Limits) -> None:
    """Refuse samples that are not finite, or absurdly loud.

    Raises:
        SkipSample: they are.
    """
    loudest = max(float(block.max(initial=0.0)), -float(block.min(initial=0.0)))  # NaN goes through both
    if not np.isfinite(loudest):
        raise SkipSample(f"{key}: sound holds NaN or infinite samples", cause="audio_not_finite")
    if loudest > limits.audio_amplitude:
        raise SkipSample(f"{key}: sound reaches {loudest:.3g} times full scale", cause="audio_amplitude")


def resample(wave: np.ndarray, *, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample a mono waveform with soxr's high-quality filter."""
    if from_hz == to_hz:
        return wave
    import soxr

    return soxr.resample(wave, from_hz, to_hz, quality="HQ").astype(np.float32)


@contextmanager
def _named_failures(key: str, *, cause: str, what: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DECODER_ERRORS as error:
        # Without the addresses of objects: the same damage is always told in the same words.
        said = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>| at 0x[0-9a-f]+", "", str(error))[:200]
        message = f"{key}: {what} does not decode: {type(error).__name__}: {said}"
        bomb = isinstance(error, Image.DecompressionBombError)  # Pillow looks at the size before we do
        raise SkipSample(message, cause="image_pixels" if bomb else cause) from error
