"""``mmcontrast.load``: files, pictures, arrays and strings in, points of the shared space out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmcontrast.checkpoint import Weights
from mmcontrast.errors import ConfigError, ExportError
from mmcontrast.evaluate.encoder import TowerEncoder, load_encoder
from mmcontrast.export.items import as_picture, as_sound, as_text, is_one
from mmcontrast.specs import AudioSpec, ImageSpec, Long

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ComputeDtype = Literal["fp32", "fp16", "bf16"]
BATCH_ROWS = 32


class Embedder:
    """A model's towers, ready for whatever holds a picture, a sound or a text."""

    def __init__(self, encoder: TowerEncoder, *, dtype: ComputeDtype = "fp32", batch_rows: int = BATCH_ROWS) -> None:
        self.encoder = encoder
        self.device = encoder.device
        self.dtype, self.batch_rows = dtype, batch_rows

    @property
    def modalities(self) -> tuple[str, ...]:
        """What can be encoded."""
        return self.encoder.modalities

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.encoder.model.config.dim

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which arrays of samples are understood."""
        return self.encoder.sample_rate_hz

    def encode(
        self,
        *,
        image: Any = None,
        audio: Any = None,
        text: Any = None,
        batch_rows: int | None = None,
        progress: bool = False,
        to: Literal["torch", "numpy"] = "torch",
    ) -> Any:
        """Embed one item, or any number of them, of one modality or of several.

        Args:
            image: a path, a PIL picture, uint8 pixels as (H, W, 3), (H, W) or (3, H, W), or several of these: a list,
                a generator, an array with one more axis.
            audio: a path, samples at ``sample_rate_hz`` as (samples,), ``(samples, rate_hz)`` with samples as
                (samples,) or (samples, channels), or several: a list, a generator, an array (N, samples).
            text: a string, or several.
            batch_rows: rows at a time; null: the embedder's own.
            progress: show how many rows are done.
            to: what is returned; numpy arrays and tensors are float32, on the CPU.

        Returns:
            (D,) for one item and (N, D) for several; a dict of these by modality when several modalities are given.

        Raises:
            ExportError: something that is no picture, sound or text; names its place.
            NeedsError: the model has no such tower.
            SkipSample: a file that does not decode.
        """
        given = {"image": image, "audio": audio, "text": text}
        given = {modality: items for modality, items in given.items() if items is not None}
        if not given:
            raise ExportError("nothing to encode: give image=, audio= or text=.")
        rows = batch_rows or self.batch_rows
        found = {modality: self._encode(modality, items, rows, progress) for modality, items in given.items()}
        result: dict[str, Any] = {name: z.numpy() if to == "numpy" else z for name, z in found.items()}
        return result if len(result) > 1 else next(iter(result.values()))

    def similarity(self, a: Any, b: Any) -> Tensor:
        """Of every point of ``a`` (A, D) with every point of ``b`` (B, D), larger is closer: (A, B)."""
        pair = [torch.as_tensor(np.asarray(each)) if not isinstance(each, Tensor) else each for each in (a, b)]
        return self.encoder.geometry.similarity(*(each[None] if each.ndim == 1 else each for each in pair))

    def _encode(self, modality: str, items: Any, batch_rows: int, progress: bool) -> Tensor:
        spec = self.encoder.spec(modality)
        convert: Callable[..., Any] = as_text
        if isinstance(spec, ImageSpec):
            convert = as_picture
        elif isinstance(spec, AudioSpec):
            convert = partial(as_sound, rate_hz=spec.sample_rate_hz, seconds=spec.read_seconds)
        single = is_one(modality, items)
        source = [items] if single else items
        if not isinstance(source, Iterable):
            raise ExportError(f"{modality}: expected an item or several, got {type(items).__name__}.")
        parts = [
            self._batch(modality, [convert(item, place=f"{modality}[{number}]") for number, item in batch])
            for batch in batches(shown(source, progress, modality), batch_rows)
        ]
        z = torch.cat(parts) if parts else torch.zeros(0, self.dim)
        return z[0] if single else z

    def _batch(self, modality: str, items: list[Any]) -> Tensor:
        low = self.dtype != "fp32"
        with torch.autocast(self.device.type, dtype=DTYPES[self.dtype] if low else None, enabled=low):
            return self.encoder.encode(modality, items)


def load(
    location: str | Path,
    *,
    device: str = "auto",
    dtype: ComputeDtype = "fp32",
    batch_rows: int = BATCH_ROWS,
    weights: Weights = "raw",
    long: Long | None = None,
) -> Embedder:
    """Load the towers of an exported folder, a run folder or a checkpoint.  Nothing is downloaded.

    Args:
        device: a torch device; auto: a GPU if there is one.
        dtype: of the matrix products; weights are kept in fp32.
        batch_rows: rows that are encoded at a time.
        weights: of a run: as trained, or their moving average (``ema``).
        long: what is heard of a sound longer than the window: ``start``, ``center`` or ``windows``; null: as the tower
            says.

    Raises:
        CheckpointError, RunFolderError: nothing usable is there, or a file is damaged.
        ConfigError: no such dtype or rule.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype: '{dtype}' is none of {', '.join(DTYPES)}.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = load_encoder(Path(location), device=device, weights=weights)
    encoder = encoder if long is None else encoder.hearing(long)
    return Embedder(encoder, dtype=dtype, batch_rows=batch_rows)


def batches(items: Iterable[Any], rows: int) -> Iterator[list[tuple[int, Any]]]:
    """Numbered items in lists of ``rows``, drawn as they are needed."""
    numbered = enumerate(items)
    while batch := list(islice(numbered, rows)):
        yield batch


def shown(items: Iterable[Any], progress: bool, label: str) -> Iterable[Any]:
    """The items with a progress bar if asked for."""
    if not progress:
        return items
    from rich.progress import track

    total = len(items) if isinstance(items, (list, tuple, np.ndarray, Tensor)) else None
    return track(items, description=label, total=total)
