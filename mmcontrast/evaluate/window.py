"""What a tower hears: sounds that it would hear cut, and one of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcontrast.data.decode import audio_seconds
from mmcontrast.errors import SkipSample, WindowTooShort
from mmcontrast.evaluate.base import Encoder
from mmcontrast.evaluate.collection import Collection

ROUNDING_SECONDS = 0.02  # of a sound's length over the window that is no cut: codecs pad


def refuse_longer(
    collection: Collection, positions: Sequence[int], source: str, *, window_seconds: float | None
) -> None:
    """Look at the length of every sound.

    Args:
        window_seconds: what the tower hears; null: any length.

    Raises:
        WindowTooShort: names the first longer sound, its length and the window.
    """
    if window_seconds is None:
        return
    for position in positions:
        key = collection.key(position)
        try:
            seconds = audio_seconds(collection.content(position, "audio"), key=key)
        except SkipSample:
            continue  # named when it is decoded
        if seconds > window_seconds + ROUNDING_SECONDS:
            raise WindowTooShort(
                f"'{source}': the sound '{key}' lasts {seconds:.2f} s, but the audio tower hears {window_seconds:g} s "
                "and would judge a part. Use a model with a longer window, or make the probe from shorter sounds."
            )


def blank(modality: str, encoder: Encoder) -> Any:
    """A picture, sound or text of nothing."""
    if modality == "image":
        from PIL import Image

        return Image.new("RGB", (8, 8))
    if modality == "audio":
        import numpy as np

        return np.zeros(encoder.sample_rate_hz, dtype=np.float32)
    return ""
