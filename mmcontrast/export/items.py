"""What a person calls a picture, a sound or a text, as the towers' preprocessing takes it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mmcontrast.data.decode import decode_audio, decode_image, resample, to_rgb
from mmcontrast.data.limits import Limits
from mmcontrast.errors import ExportError


def is_one(modality: str, items: Any) -> bool:
    """Whether this is one item and not several.

    Raises:
        ExportError: an array of a shape that is neither.
    """
    if isinstance(items, (str, PathLike, Image.Image)):
        return True
    if (
        modality == "audio"
        and isinstance(items, tuple)
        and len(items) == 2
        and isinstance(items[1], (int, np.integer))
    ):
        return True
    if isinstance(items, (np.ndarray, Tensor)):
        axes = items.ndim
        if modality == "image":
            # Three axes are one picture if the first or the last one counts colours, else several grey ones.
            return axes == 2 or (axes == 3 and 3 in (items.shape[0], items.shape[-1]))
        if modality == "audio":
            return axes == 1
        return axes == 0
    return False


def as_picture(item: Any, *, place: str) -> Image.Image:
    """A path, PIL picture or uint8 array as an RGB picture.

    Raises:
        ExportError: none of these; names the place.
        SkipSample: a file that does not decode.
    """
    if isinstance(item, (str, PathLike)):
        return decode_image(content_of(item, place), key=str(item))
    if isinstance(item, Image.Image):
        return item if item.mode == "RGB" else to_rgb(item, key=place)
    if isinstance(item, (np.ndarray, Tensor)):
        pixels = item.detach().cpu().numpy() if isinstance(item, Tensor) else item
        if pixels.ndim == 3 and pixels.shape[-1] != 3 and pixels.shape[0] == 3:
            pixels = pixels.transpose(1, 2, 0)
        if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)):
            raise ExportError(
                f"{place}: expected uint8 pixels of shape (H, W, 3), (3, H, W) or (H, W), got {pixels.dtype} of shape "
                f"{pixels.shape}. Pixels in [0, 1]: multiply by 255 and round."
            )
        return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    raise ExportError(f"{place}: expected a path, a PIL picture or an array, got {type(item).__name__}.")


def as_sound(item: Any, *, place: str, rate_hz: int, seconds: float | None) -> np.ndarray:
    """A path or samples as a mono float32 waveform at ``rate_hz``; of a file, the first ``seconds``, or all of it.

    Raises:
        ExportError: none of these; names the place.
        SkipSample: a file that does not decode.
    """
    if isinstance(item, (str, PathLike)):
        return decode_audio(content_of(item, place), key=str(item), sample_rate_hz=rate_hz, max_seconds=seconds)
    from_hz = rate_hz
    if isinstance(item, tuple):
        item, from_hz = item
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
    if not isinstance(item, np.ndarray) or item.ndim not in (1, 2) or item.size == 0:
        shape = item.shape if isinstance(item, np.ndarray) else type(item).__name__
        raise ExportError(f"{place}: expected a path, samples of shape (samples,) or (samples, rate_hz), got {shape}.")
    if item.ndim == 2 and item.shape[1] > 32:
        raise ExportError(f"{place}: samples are (samples, channels); {item.shape} has {item.shape[1]} channels.")
    wave = item.astype(np.float32)
    if np.issubdtype(item.dtype, np.integer):
        wave = wave / -float(np.iinfo(item.dtype).min)
    if wave.ndim == 2:
        wave = wave.mean(axis=1)
    if not np.isfinite(wave).all():
        raise ExportError(f"{place}: samples are not all finite.")
    return resample(wave, from_hz=int(from_hz), to_hz=rate_hz)


def as_text(item: Any, *, place: str) -> str:
    """A string.

    Raises:
        ExportError: something else; names the place.
    """
    if not isinstance(item, str):
        raise ExportError(f"{place}: expected a string, got {type(item).__name__}.")
    return str(item)


def content_of(path: str | PathLike[str], place: str) -> bytes:
    """A file's bytes, of at most the size that a shard's member may have.

    Raises:
        ExportError: it cannot be read or is too large.
    """
    try:
        size = Path(path).stat().st_size
        if size > Limits().member_bytes:
            raise ExportError(f"{place}: '{path}' has {size:,} bytes, more than {Limits().member_bytes:,}.")
        return Path(path).read_bytes()
    except OSError as error:
        raise ExportError(f"{place}: '{path}' cannot be read: {error.strerror}.") from error
