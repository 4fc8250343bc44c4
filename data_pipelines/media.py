"""A row's picture, sound and captions, decoded as the loader decodes them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.rows import Row, captions, member_of
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.manifest import Manifest
from mmcontrast.errors import SkipSample

FALLBACK_HZ = 48_000


@dataclass(frozen=True)
class Sound:
    """A mono waveform at the rate that its file has."""

    wave: np.ndarray  # float32, shape (samples,)
    rate_hz: int

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.wave) / self.rate_hz


class Look:
    """Decodes what is asked for, once.  Every property raises :class:`SkipSample` for a damaged medium."""

    def __init__(self, row: Row, manifest: Manifest) -> None:
        self.row = row
        self.columns = manifest.columns

    def has(self, column: str) -> bool:
        """Whether the row has the column's member (for a field: the field)."""
        spec = self.columns.get(column)
        if spec is None or member_of(self.row, spec) is None:
            return False
        return spec.field is None or self.row.info().get(spec.field) is not None

    def content(self, column: str) -> bytes:
        """Bytes of a column's member; the row must have it."""
        extension = member_of(self.row, self.columns[column])
        assert extension is not None, f"{self.row.key} has no {column}"
        return self.row.members[extension]

    @cached_property
    def image(self) -> Image.Image:
        """The picture of column ``image``, RGB."""
        return decode_image(self.content("image"), key=self.row.key)

    @cached_property
    def sound(self) -> Sound:
        """The sound of column ``audio``."""
        return open_sound(self.content("audio"), key=self.row.key)

    @cached_property
    def captions(self) -> list[str]:
        """The captions of column ``text``."""
        return captions(self.row, self.columns["text"])

    def texts(self, column: str) -> list[str]:
        """The strings of any text column."""
        return captions(self.row, self.columns[column])


def open_sound(content: bytes, *, key: str) -> Sound:
    """Decode a sound at its own rate.

    Raises:
        SkipSample: it does not decode.
    """
    rate = sound_rate(content)
    return Sound(decode_audio(content, key=key, sample_rate_hz=rate), rate)


def sound_rate(content: bytes) -> int:
    """Sample rate that a sound's header names; 48,000 where libsndfile reads none."""
    import soundfile

    try:
        rate = int(soundfile.info(io.BytesIO(content)).samplerate)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError):
        return FALLBACK_HZ
    return rate if rate > 0 else FALLBACK_HZ


def check_cell(look: Look, column: str) -> None:
    """Decode one cell.

    Raises:
        SkipSample: it does not decode, or is a caption column without captions.
    """
    modality = look.columns[column].modality
    if modality == "text":
        if not look.texts(column):
            raise SkipSample(f"{look.row.key}: no caption that is not empty")
        return
    content = look.content(column)
    if modality == "image":
        decode_image(content, key=look.row.key)
    else:
        open_sound(content, key=look.row.key)


def encode_jpeg(image: Image.Image, *, quality: int) -> bytes:
    """A picture as JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def encode_flac(wave: np.ndarray, *, rate_hz: int) -> bytes:
    """A mono waveform as 16-bit FLAC."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1.0, 1.0), rate_hz, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def first_line(error: Any) -> str:
    """An error in one line of at most 300 characters."""
    return str(error).split("\n")[0][:300]
