"""Made-up sets whose pictures, sounds and captions carry a number, and encoders that read the number back."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.geometry.sphere import Sphere

RATE = 8000
DIM = 48
COLUMNS = {
    "image": ColumnSpec(modality="image", extension="png"),
    "audio": ColumnSpec(modality="audio", extension="wav"),
    "text": ColumnSpec(modality="text", extension="json", field="captions"),
}


def picture(number: int, shade: int = 0) -> bytes:
    """A PNG whose red channel is the number."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (number, shade, 0)).save(stream, "PNG")
    return stream.getvalue()


def tones(*numbers: int, level: float = 0.5) -> bytes:
    """A WAV with one tone of 100 + 20 * number hertz after another, a quarter of a second each."""
    time = np.arange(RATE // 4) / RATE
    wave = np.concatenate([level * np.sin(2 * np.pi * (100 + 20 * number) * time) for number in numbers])
    stream = io.BytesIO()
    soundfile.write(stream, wave, RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def write(folder: Path, samples: list[Sample], columns: Sequence[str]) -> str:
    """Pack samples; return the manifest's folder."""
    write_shards(
        samples,
        folder=folder,
        name=folder.name,
        columns={name: COLUMNS[name] for name in columns},
        made_by={"job": "tests"},
        rows_per_shard=50,
    )
    return str(folder)


def make_things(folder: Path, *, things: int = 20, styles: Sequence[str] = ("plain", "dark")) -> str:
    """Rows of things in several styles, each with a picture, a sound and a caption."""
    samples = []
    for shade, style in enumerate(styles):
        for number in range(things):
            info = {
                "caption": f"thing {number}",
                "captions": [f"thing {number}"],
                "thing": f"thing {number}",
                "family": f"family {number % 3}",
                "style": style,
                "licence": "CC0-1.0",
                "source": "made up",
            }
            members = {"png": picture(number, shade), "wav": tones(number, level=0.3 + 0.1 * shade)}
            samples.append(Sample(key=f"{style}-{number:03d}", members=members, info=info))
    return write(folder, samples, ("image", "audio", "text"))


def make_sequences(folder: Path, *, tones_used: int = 12) -> str:
    """Every pair of tones in both orders."""
    samples = []
    for a in range(tones_used):
        for b in range(a):
            for first, second in ((a, b), (b, a)):
                caption = f"tone {first} then tone {second}"
                info = {"caption": caption, "captions": [caption], "pair": f"{b}+{a}"}
                samples.append(
                    Sample(
                        key=f"{first:02d}-{second:02d}",
                        members={"wav": tones(first, second)},
                        info=info | {"licence": "CC0-1.0", "source": "made up"},
                    )
                )
    return write(folder, samples, ("audio", "text"))


def point(number: int, *, salt: str = "") -> Tensor:
    """A fixed random direction for a number."""
    seed = zlib.crc32(f"{salt}{number}".encode())
    return torch.randn(DIM, generator=torch.Generator().manual_seed(seed))


class FakeEncoder:
    """Reads the numbers in an item; ``noise`` makes it err, ``kind`` chooses how it is blind."""

    modalities = ("audio", "image", "text")
    sample_rate_hz = RATE
    window_seconds: float | None = None

    def __init__(self, *, noise: float = 0.0, kind: str = "seeing", batch_rows: int = 1000) -> None:
        self.geometry = Sphere(Sphere.Config())
        self.calls: list[tuple[str, int]] = []
        self._noise, self._kind, self._batch_rows = noise, kind, batch_rows

    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        """Embed items: (N, D)."""
        self.calls.append((modality, len(items)))
        rows = [self._row(modality, item) for item in items]
        return torch.cat(
            [
                self.geometry.project(torch.stack(rows[start : start + self._batch_rows]))
                for start in range(0, len(rows), self._batch_rows)
            ]
        )

    def _row(self, modality: str, item: Any) -> Tensor:
        if self._kind == "constant":
            return torch.ones(DIM)
        numbers = _numbers(modality, item)
        seed = zlib.crc32(f"{modality}{numbers}{item if modality == 'text' else np.asarray(item).sum()}".encode())
        noise = self._noise * torch.randn(DIM, generator=torch.Generator().manual_seed(seed))
        if self._kind == "random":
            return noise / max(self._noise, 1e-9)
        if self._kind == "bag":  # hears which tones sound, not in which order
            return torch.stack([point(number) for number in sorted(numbers)]).sum(dim=0) + noise
        return torch.stack([point(number, salt=str(place)) for place, number in enumerate(numbers)]).sum(dim=0) + noise


def _numbers(modality: str, item: Any) -> list[int]:
    if modality == "text":
        return [int(number) for number in re.findall(r"\d+", item)] or [0]
    if modality == "image":
        return [int(np.asarray(item)[0, 0, 0])]
    size = RATE // 4
    parts = [item[start : start + size] for start in range(0, len(item) - size + 1, size)]
    return [round((np.abs(np.fft.rfft(part)).argmax() * RATE / len(part) - 100) / 20) for part in parts]
