"""Small sets that probes are made of."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from mmcontrast.evaluate.collection import Entry, Listed

CAPTIONS = (
    ("a small dog chases a black cat left of the red house", "a dog and a cat"),
    ("a big bird above an old tree", "a bird"),
    ("a green apple near a yellow banana on a wooden table", "fruit"),
    ("a man rides a horse over a narrow bridge", "a rider"),
    ("sun", "star"),
    ("a red umbrella", "rain"),
)
NAMES = ("dog", "owl", "red car", "violin")


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def sound(hertz: float, seconds: float, *, at: float = 0.0, rate: int = 8000) -> bytes:
    """A tone from ``at`` on, after silence."""
    times = np.arange(round(seconds * rate)) / rate
    samples = np.where(times >= at, 0.5 * np.sin(2 * np.pi * hertz * times), 0.0)
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def captioned() -> Listed:
    """Pictures with two captions each."""
    return Listed(
        "pictures",
        [
            Entry(f"p{number}", {"captions": list(texts)}, {"image": partial(picture, number)}, {"image": "png"})
            for number, texts in enumerate(CAPTIONS)
        ],
    )


def labelled(modality: str, media: dict[str, Callable[[], bytes]] | None = None) -> Listed:
    """Two pictures, or sounds of a second, of each name; more rows by name if asked for."""
    made: dict[str, Callable[[], bytes]] = {}
    for number, name in enumerate(NAMES):
        for copy in range(2):
            place = number * 2 + copy
            made[f"{name}|{copy}"] = (
                partial(picture, 20 * place) if modality == "image" else partial(sound, 200.0 + 100 * place, 1.0)
            )
    made |= media or {}
    return Listed(
        "things",
        [
            Entry(key.replace("|", "-"), {"label": key.split("|")[0]}, {modality: content}, {modality: "png"})
            for key, content in made.items()
        ],
    )
