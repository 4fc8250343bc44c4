"""Bytes to pixels and samples, with limits checked before anything large is allocated."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from mmcontrast.errors import SkipSample

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 40_000_000
MAX_SECONDS = 600.0


def decode_image(content: bytes, *, key: str) -> Image.Image:
    """Decode a picture to RGB, transparency over white.

    Raises:
        SkipSample: not a picture of a known format, damaged, or over 40 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise SkipSample(f"{key}: picture of {image.width} x {image.height} pixels is over the limit")
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, (255, 255, 255, 255))
                return Image.alpha_composite(white, image).convert("RGB")
            return image.convert("RGB")
    # Pillow raises each of these on damaged files: SyntaxError on broken PNG chunks, TypeError on one real TIFF.
    except (OSError, SyntaxError, TypeError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise SkipSample(f"{key}: picture does not decode: {type(error).__name__}: {error}") from error


def decode_audio(content: bytes, *, key: str, sample_rate_hz: int, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Decode the first ``max_seconds`` of a sound to mono float32 at ``sample_rate_hz``, shape (samples,).

    Raises:
        SkipSample: not a sound libsndfile reads, empty, or not finite.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            rate = sound.samplerate
            if not 1_000 <= rate <= 384_000 or not 1 <= sound.channels <= 32:
                raise SkipSample(f"{key}: {rate} Hz with {sound.channels} channels is outside the limits")
            wanted = round(max_seconds * rate)
            blocks, seen = [], 0
            # In blocks: a forged header may promise any number of frames.
            while seen < wanted:
                block = sound.read(min(1 << 16, wanted - seen), dtype="float32", always_2d=True)
                if len(block) == 0:
                    break
                blocks.append(block.mean(axis=1))
                seen += len(block)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise SkipSample(f"{key}: sound does not decode: {type(error).__name__}: {error}") from error
    if not blocks:
        raise SkipSample(f"{key}: sound holds no samples")
    wave = np.concatenate(blocks)
    if not np.isfinite(wave).all():
        raise SkipSample(f"{key}: sound holds NaN or infinite samples")
    return resample(wave, from_hz=rate, to_hz=sample_rate_hz)


def resample(wave: np.ndarray, *, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample a mono waveform with soxr's high-quality filter."""
    if from_hz == to_hz:
        return wave
    import soxr

    return soxr.resample(wave, from_hz, to_hz, quality="HQ").astype(np.float32)
