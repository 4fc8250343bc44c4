"""Waveforms to small Ogg Opus files, the same bytes at every run."""

from __future__ import annotations

import io
import struct

import numpy as np

RATE = 16_000  # Hz
COMPRESSION = 0.985  # libsndfile's scale from 0 to 1: about 13 kbit/s; beyond 0.985 quality falls off


def encode_opus(wave: np.ndarray, *, compression: float = COMPRESSION) -> bytes:
    """Encode a mono float waveform at 16 kHz.

    libsndfile gives each stream a random serial number; it is replaced by a constant one, with the checksums of the
    Ogg pages made anew.
    """
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1, 1), RATE, format="OGG", subtype="OPUS", compression_level=compression)
    return with_serial(stream.getvalue(), serial=1)


def with_serial(content: bytes, *, serial: int) -> bytes:
    """Set the serial number of every page of a single-stream Ogg file (RFC 3533, section 6)."""
    pages, start = [], 0
    while start < len(content):
        assert content[start : start + 4] == b"OggS"
        segments = content[start + 26]
        size = 27 + segments + sum(content[start + 27 : start + 27 + segments])
        page = bytearray(content[start : start + size])
        page[14:18] = struct.pack("<I", serial)
        page[22:26] = b"\0\0\0\0"
        page[22:26] = struct.pack("<I", _checksum(bytes(page)))
        pages.append(bytes(page))
        start += size
    return b"".join(pages)


def _table() -> list[int]:
    rows = []
    for value in range(256):
        register = value << 24
        for _ in range(8):
            register = ((register << 1) ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
        rows.append(register)
    return rows


_TABLE = _table()


def _checksum(page: bytes) -> int:
    """CRC-32 with polynomial 0x04c11db7, no reflection, no inversion."""
    register = 0
    for byte in page:
        register = ((register << 8) & 0xFFFFFFFF) ^ _TABLE[(register >> 24) ^ byte]
    return register


def faded(wave: np.ndarray, *, samples: int, fade_samples: int = 160) -> np.ndarray:
    """Cut or pad to ``samples`` with a short fade at the end, so that the cut does not click."""
    wave = wave[:samples].astype(np.float32)
    if len(wave) >= fade_samples:
        wave = wave.copy()
        wave[-fade_samples:] *= np.linspace(1, 0, fade_samples, dtype=np.float32)
    return np.pad(wave, (0, samples - len(wave)))


def loudness(wave: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
