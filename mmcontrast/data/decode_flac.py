"""FLAC through dr_flac (miniaudio): all samples of a sound that nothing is wrong with, in 0.6x libsndfile's time.

It says nothing of damage: it leaves broken frames out and reads past broken headers.  So it is asked for whole sounds
alone, whose number of samples then tells; and not where libFLAC would refuse a header.  Anything else is ``None``:
libsndfile reads it, and its word counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

STREAM_INFO, PADDING, APPLICATION, SEEK_TABLE, COMMENTS = range(5)  # kinds of metadata; others are libsndfile's
BLOCK_HEADER, STREAM_INFO_BYTES, SEEK_POINT_BYTES = 4, 34, 18
NUMBERS = slice(18, 26)  # of the stream's information: bits of rate, channels, bits a sample, and frames
MOST_SAMPLES = 1 << 21  # of all channels, decoded at once
MOST_SPARE = 1.5  # samples decoded of those wanted: beyond it, seeking is the faster way


@dataclass(frozen=True)
class FlacHeader:
    """What the header of a whole FLAC file says."""

    rate_hz: int
    channels: int
    frames: int


def flac_header(content: bytes) -> FlacHeader | None:
    """Return a FLAC file's header where it is as libFLAC and libsndfile want it; None for all else."""
    if content[:4] != b"fLaC" or len(content) < NUMBERS.stop or not _metadata_fit(content):
        return None
    numbers = int.from_bytes(content[NUMBERS], "big")
    header = FlacHeader(rate_hz=numbers >> 44, channels=(numbers >> 41 & 7) + 1, frames=numbers & (1 << 36) - 1)
    known = (numbers >> 36 & 31) + 1 in (8, 16, 24) and header.frames > 0 and header.rate_hz > 0
    return header if known else None


def read_window(content: bytes, header: FlacHeader, *, start_seconds: float, seconds: float) -> np.ndarray | None:
    """Return a window as float32 (frames, channels), equal to libsndfile's; None where that may not be so."""
    first = min(round(start_seconds * header.rate_hz), header.frames)
    wanted = round(seconds * header.rate_hz)
    most = min(MOST_SAMPLES // header.channels, MOST_SPARE * wanted)
    decoder = _decoder()
    if header.frames > most or decoder is None:
        return None
    ffi, lib = decoder
    sound = lib.ma_dr_flac_open_memory(content, len(content), ffi.NULL)
    if sound == ffi.NULL:
        return None
    try:
        if FlacHeader(sound.sampleRate, sound.channels, sound.totalPCMFrameCount) != header:
            return None
        samples = np.empty((header.frames + 1, header.channels), np.float32)  # room for one that should not be there
        room = ffi.cast("float *", samples.ctypes.data)
        found = lib.ma_dr_flac_read_pcm_frames_f32(sound, header.frames + 1, room)
    finally:
        lib.ma_dr_flac_close(sound)
    return samples[first : min(first + wanted, found)] if found == header.frames else None


@cache
def _decoder() -> tuple[Any, Any] | None:
    try:
        import miniaudio
    except ImportError:  # not built for every machine
        return None
    return miniaudio.ffi, miniaudio.lib


def _metadata_fit(content: bytes) -> bool:
    """Whether the blocks of metadata are as libFLAC wants them, and a frame follows."""
    at, last, expected = 4, False, [STREAM_INFO]
    while not last:
        if at + BLOCK_HEADER > len(content):
            return False
        last, kind = bool(content[at] & 0x80), content[at] & 0x7F
        length = int.from_bytes(content[at + 1 : at + BLOCK_HEADER], "big")
        block = content[at + BLOCK_HEADER : at + BLOCK_HEADER + length]
        if kind not in expected or len(block) < length or not _fits(kind, block):
            return False
        expected = [PADDING, APPLICATION, SEEK_TABLE, COMMENTS]
        at += BLOCK_HEADER + length
    return len(content) > at + 1 and content[at] == 0xFF and content[at + 1] & 0xFE == 0xF8


def _fits(kind: int, block: bytes) -> bool:
    if kind == STREAM_INFO:
        return len(block) == STREAM_INFO_BYTES
    if kind == SEEK_TABLE:
        return len(block) % SEEK_POINT_BYTES == 0
    if kind == APPLICATION:
        return len(block) >= 4
    return kind == PADDING or _comments_fit(block)


def _comments_fit(block: bytes) -> bool:
    """Whether the lengths of the vendor's name and of all comments add up to the block."""

    def number(at: int) -> int:
        return int.from_bytes(block[at : at + 4], "little")

    at = 4 + number(0)
    count = number(at)
    at += 4
    for _ in range(min(count, len(block) // 4)):
        at += 4 + number(at)
    return at == len(block) and count <= len(block) // 4
