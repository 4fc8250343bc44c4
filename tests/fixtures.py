"""Small shards of made-up but learnable samples: coloured squares, tones, and captions that say which."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.manifest import ColumnSpec

COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "black": (0, 0, 0)}
RATE = 8000


def picture(color: str, size: int = 20) -> bytes:
    """A PNG of one colour with a white corner."""
    image = Image.new("RGB", (size, size), COLORS[color])
    image.putpixel((0, 0), (255, 255, 255))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def tone(hz: float, seconds: float = 0.5) -> bytes:
    """A WAV of one sine."""
    time = np.arange(int(seconds * RATE)) / RATE
    stream = io.BytesIO()
    soundfile.write(stream, 0.5 * np.sin(2 * np.pi * hz * time), RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def make_set(folder: Path, *, columns: tuple[str, ...], rows: int = 24, rows_per_shard: int = 10) -> str:
    """Write a set with some of image, audio and text; return its manifest's folder as a string."""
    samples = []
    for number in range(rows):
        color = list(COLORS)[number % len(COLORS)]
        hz = 200 * (1 + number % 5)
        members = {}
        if "image" in columns:
            members["png"] = picture(color)
        if "audio" in columns:
            members["wav"] = tone(hz)
        caption = f"a {color} square" if "image" in columns else f"a tone of {hz} hertz"
        info = {
            "captions": [caption, f"{caption}, number {number}"],
            "thing": f"{color}",
            "licence": "CC0-1.0",
            "source": "made up",
        }
        samples.append(Sample(key=f"row-{number:04d}", members=members, info=info))
    specs = {
        "image": ColumnSpec(modality="image", extension="png"),
        "audio": ColumnSpec(modality="audio", extension="wav"),
        "text": ColumnSpec(modality="text", extension="json", field="captions"),
    }
    write_shards(
        samples,
        folder=folder,
        name=folder.name,
        columns={name: specs[name] for name in columns},
        made_by={"job": "tests"},
        rows_per_shard=rows_per_shard,
    )
    return str(folder)
