"""Sounds through libsndfile: WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF, W64 and its other containers."""

from __future__ import annotations

import numpy as np

from mmcontrast.data import decode_flac
from mmcontrast.data.decode import BLOCK_SAMPLES, check_rate, check_samples
from mmcontrast.data.decode_flac import flac_header
from mmcontrast.data.limits import Limits
from mmcontrast.data.sound_bytes import SoundBytes

PAIRWISE = 8  # numbers from which on numpy adds them up in another order


def read_window(
    content: bytes, *, key: str, start_seconds: float, seconds: float, limits: Limits
) -> tuple[np.ndarray, int]:
    """Return a window as mono float32, and its sample rate.

    Read in blocks: a forged header may promise any number of frames.

    Raises:
        SkipSample: over a limit, or not finite.
        OSError, RuntimeError, ValueError, TypeError, MemoryError: not a sound, or damaged.
    """
    import soundfile

    # Integer samples reach full scale at most: only a limit below it needs to look at them.
    header = flac_header(content) if limits.audio_amplitude >= 1 else None
    if header is not None:
        check_rate(key, header.rate_hz, header.channels, limits)
        samples = decode_flac.read_window(content, header, start_seconds=start_seconds, seconds=seconds)
        if samples is not None:
            return mono(samples), header.rate_hz
    with soundfile.SoundFile(SoundBytes(content)) as sound:
        check_rate(key, sound.samplerate, sound.channels, limits)
        if start_seconds:
            sound.seek(min(round(start_seconds * sound.samplerate), sound.frames))
        wanted = round(seconds * sound.samplerate)
        most = max(1, BLOCK_SAMPLES // sound.channels)
        bounded = is_integer(sound.subtype) and limits.audio_amplitude >= 1
        blocks: list[np.ndarray] = []
        seen = 0
        while seen < wanted:
            block = sound.read(min(most, wanted - seen), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            if not bounded:
                check_samples(key, block, limits)
            blocks.append(mono(block))
            seen += len(block)
        if len(blocks) == 1:
            return blocks[0], sound.samplerate
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), sound.samplerate


def is_integer(subtype: str) -> bool:
    """Whether a sound's samples are integers as they are stored: never NaN, and full scale at most."""
    return subtype.startswith("PCM_")


def mono(block: np.ndarray) -> np.ndarray:
    """Mean over channels of (frames, channels).

    Relations: ``block.mean(axis=1)``, bit for bit, which takes twenty times as long for two channels.
    """
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    if channels >= PAIRWISE:
        return block.mean(axis=1)
    total = block[:, 0] + np.float32(0)  # as a sum from zero: no negative zero, which would mean padding
    for channel in range(1, channels):
        total += block[:, channel]
    total /= np.float32(channels)
    return total
