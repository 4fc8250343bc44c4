"""Sounds and pictures put together from rows of a set, by a recipe that a probe keeps instead of the file."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.errors import ConfigError

MAX_SECONDS = 600.0  # of a sound
MAX_SIDE = 4096  # pixels of a scene
Fetch = Callable[[str], bytes]  # the file of a row, by its key


@dataclass(frozen=True, kw_only=True)
class SoundPart:
    """A stretch of a row's sound, and where it is heard."""

    row: str  # key in the probe's source
    at_seconds: float  # onset in the whole; equal onsets are heard at once
    seconds: float  # length; shorter sounds are padded with silence
    start_seconds: float = 0.0  # of the stretch in the row's sound
    rms_db: float | None = None  # scaled to this level below full scale; null: as it is
    fade_seconds: float = 0.01  # linear, at both ends


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Parts on a time line; what goes over full scale is scaled down as a whole."""

    sample_rate_hz: int
    seconds: float  # of the whole
    parts: list[SoundPart]

    @staticmethod
    def of(tree: Any, *, where: str) -> Sound:
        """Read a recipe.

        Raises:
            ConfigError: it is none; names ``where`` it stands.
        """
        try:
            found = Sound(**{**tree, "parts": [SoundPart(**part) for part in tree["parts"]]})
            lengths = [found.seconds, *(part.seconds for part in found.parts)]
            ends = [part.at_seconds + part.seconds for part in found.parts]
            starts = [min(part.at_seconds, part.start_seconds) for part in found.parts]
            fits = min(lengths) > 0 and found.seconds <= MAX_SECONDS and max(ends) <= found.seconds + 1e-6
            sane = fits and min(starts) >= 0 and 1000 <= found.sample_rate_hz <= 192_000
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"{where}: no recipe of a sound: {type(error).__name__} {error}.") from error
        if not sane:
            raise ConfigError(f"{where}: parts of a sound must lie within its {found.seconds:g} s, at most 600.")
        return found

    def wave(self, fetch: Fetch) -> np.ndarray:
        """Mono float32 of ``seconds`` at ``sample_rate_hz``.

        Raises:
            SkipSample: a row's sound is not there or damaged.
        """
        rate = self.sample_rate_hz
        mixed = np.zeros(round(self.seconds * rate), dtype=np.float32)
        for part in self.parts:
            found = decode_audio(
                fetch(part.row), key=part.row, sample_rate_hz=rate,
                start_seconds=part.start_seconds, max_seconds=part.seconds,
            )  # fmt: skip
            shaped = _shaped(found[: round(part.seconds * rate)], part, rate)
            begin = round(part.at_seconds * rate)
            end = min(begin + len(shaped), len(mixed))
            mixed[begin:end] += shaped[: end - begin]
        peak = float(np.abs(mixed).max(initial=0.0))
        return mixed / peak if peak > 1 else mixed

    def content(self, fetch: Fetch) -> bytes:
        """The same as a WAV file of 16 bits."""
        stream = io.BytesIO()
        with wave.open(stream, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.sample_rate_hz)
            file.writeframes((self.wave(fetch) * 32767).round().astype("<i2").tobytes())
        return stream.getvalue()


def _shaped(samples: np.ndarray, part: SoundPart, rate: int) -> np.ndarray:
    if part.rms_db is not None:
        level = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
        if level > 0:
            samples = samples * (10 ** (part.rms_db / 20) / level)
    count = min(round(part.fade_seconds * rate), len(samples) // 2)
    samples = np.array(samples, dtype=np.float32)
    if count > 0:
        ramp = np.linspace(0, 1, count, dtype=np.float32)
        samples[:count] *= ramp
        samples[-count:] *= ramp[::-1]
    return samples


@dataclass(frozen=True, kw_only=True)
class ScenePart:
    """A row's picture, and where it is seen."""

    row: str  # key in the probe's source
    box: tuple[int, int, int, int]  # left, top, width, height in pixels; the picture fills it


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Pictures on a plain ground, later ones over earlier ones."""

    size: tuple[int, int]  # width, height in pixels
    parts: list[ScenePart]
    background: tuple[int, int, int] = (255, 255, 255)

    @staticmethod
    def of(tree: Any, *, where: str) -> Scene:
        """Read a recipe.

        Raises:
            ConfigError: it is none; names ``where`` it stands.
        """
        try:
            parts = [ScenePart(row=str(part["row"]), box=_numbers(part["box"], 4)) for part in tree["parts"]]
            ground = _numbers(tree.get("background", (255, 255, 255)), 3)
            found = Scene(size=_numbers(tree["size"], 2), parts=parts, background=ground)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ConfigError(f"{where}: no recipe of a scene: {type(error).__name__} {error}.") from error
        width, height = found.size
        inside = all(
            left >= 0 and top >= 0 and wide > 0 and high > 0 and left + wide <= width and top + high <= height
            for left, top, wide, high in (part.box for part in found.parts)
        )
        if not inside or not 0 < max(found.size) <= MAX_SIDE or not found.parts:
            raise ConfigError(
                f"{where}: parts of a scene must lie within {width} x {height} pixels, at most {MAX_SIDE}."
            )
        return found

    def content(self, fetch: Fetch) -> bytes:
        """The picture as a PNG file.

        Raises:
            SkipSample: a row's picture is not there or damaged.
        """
        canvas = Image.new("RGB", self.size, self.background)
        for part in self.parts:
            left, top, width, height = part.box
            picture = decode_image(fetch(part.row), key=part.row)
            canvas.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (left, top))
        stream = io.BytesIO()
        canvas.save(stream, "PNG", compress_level=1)
        return stream.getvalue()


def _numbers(values: Any, count: int) -> Any:
    numbers = tuple(int(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"expected {count} numbers, got {len(numbers)}")
    return numbers
