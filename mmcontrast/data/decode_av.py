"""Sounds that libsndfile does not read, through FFmpeg (PyAV): AAC in MP4 and ADTS, WebM, Matroska, WMA, WavPack."""

from __future__ import annotations

import io

import numpy as np

from mmcontrast.data.decode import check_rate, check_samples, fallback_container
from mmcontrast.data.limits import Limits
from mmcontrast.errors import MissingPackage


def read_window(
    content: bytes, *, key: str, start_seconds: float, seconds: float, limits: Limits
) -> tuple[np.ndarray, int]:
    """Return a window of the first audio stream as mono float32, and its sample rate.

    Raises:
        SkipSample: over a limit, or not finite.
        MissingPackage: PyAV is not installed.
        OSError, ValueError, LookupError, MemoryError: not a sound, or damaged.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackage(
            f"{key}: this sound needs PyAV. Install it with: pip install 'mmcontrast[media]'"
        ) from error

    try:
        return _read(content, key=key, start_seconds=start_seconds, seconds=seconds, limits=limits)
    except av.error.FFmpegError as error:  # not all of its kinds are also errors of Python's own
        raise OSError(f"{type(error).__name__}: {error}") from error


def _read(content: bytes, *, key: str, start_seconds: float, seconds: float, limits: Limits) -> tuple[np.ndarray, int]:
    import av

    # Nothing but the bytes at hand: no other protocol may be opened from inside of a file.
    closed = {"protocol_whitelist": "pipe"}
    with av.open(io.BytesIO(content), "r", format=fallback_container(content), options=closed) as container:
        if not container.streams.audio:
            raise ValueError("no audio stream")
        stream = container.streams.audio[0]
        rate_hz, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        check_rate(key, rate_hz, channels, limits)
        first, wanted = round(start_seconds * rate_hz), round(seconds * rate_hz)
        resampler = av.AudioResampler(format="fltp", rate=rate_hz)
        blocks: list[np.ndarray] = []
        seen = 0
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                block = piece.to_ndarray()
                check_samples(key, block, limits)
                blocks.append(block.mean(axis=0))
                seen += block.shape[1]
            if seen >= first + wanted:
                break
        wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        return wave[first : first + wanted].astype(np.float32), rate_hz
