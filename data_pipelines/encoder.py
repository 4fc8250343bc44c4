"""A trained model as jobs use it: one set's rows to embeddings, one file a shard, computed once.

The only file of the pipelines that reaches into the package above its data: through the public encoder, which takes
pictures, sounds and strings and returns points of the shared space.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.media import Look
from data_pipelines.rows import ShardFolder, file_digest
from mmcontrast.config import config
from mmcontrast.data.decode import resample
from mmcontrast.errors import ConfigError, SkipSample

ROWS_TOGETHER = 128


@config
class EncoderConfig:
    """A trained model."""

    run: str  # run folder of mmcontrast train, or one checkpoint in it
    device: str = "cpu"  # cuda where there is a GPU


@lru_cache(maxsize=2)
def _load(run: str, device: str) -> Any:
    from mmcontrast.evaluate.encoder import load_encoder

    return load_encoder(Path(run), device=device)


def encoder_inputs(encoder: EncoderConfig) -> dict[str, str]:
    """Digest of the newest weights.

    Raises:
        ConfigError, RunFolderError, CheckpointError: nothing usable is there.
    """
    path = Path(encoder.run)
    if not path.exists():
        raise ConfigError(f"no run folder and no checkpoint at '{encoder.run}' (model.run).")
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        _load(encoder.run, encoder.device)  # says what is missing
    return {f"model {encoder.run}": file_digest(files[-1])[1]} if files else {}


def embed(looks: Sequence[Look], column: str, encoder: EncoderConfig) -> np.ndarray:
    """Embed one column of rows; rows without it, and rows that do not decode, get NaN.

    Returns:
        float32 (rows, D), each of unit length.

    Raises:
        ConfigError: the model has no tower for the column's modality.
    """
    model = _load(encoder.run, encoder.device)
    modality = column.split(".")[0]
    if modality not in model.modalities:
        raise ConfigError(f"model '{encoder.run}' has no {modality} tower; it has: {', '.join(model.modalities)}.")
    places, items = [], []
    for place, look in enumerate(looks):
        try:
            if look.has(column):
                items.append(_item(look, column, modality, model))
                places.append(place)
        except SkipSample:
            continue  # stays NaN; verify and filter name such rows
    found = model.encode(modality, items).numpy().astype(np.float32) if items else None
    width = model.model.config.dim if found is None else found.shape[1]
    result = np.full((len(looks), width), np.nan, dtype=np.float32)
    if found is not None:
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        result[places] = found / np.maximum(norms, 1e-12)
    return result


def embed_shard(source: ShardFolder, number: int, column: str, encoder: EncoderConfig) -> np.ndarray:
    """Embed one column of a whole shard."""
    looks: list[Look] = []
    parts = []
    for row in source.rows(number):
        looks.append(Look(row, source.manifest))
        if len(looks) == ROWS_TOGETHER:
            parts.append(embed(looks, column, encoder))
            looks = []
    if looks:
        parts.append(embed(looks, column, encoder))
    return np.concatenate(parts)


def _item(look: Look, column: str, modality: str, model: Any) -> Any:
    if modality == "image":
        return look.image
    if modality == "audio":
        return resample(look.sound.wave, from_hz=look.sound.rate_hz, to_hz=model.sample_rate_hz)
    texts = look.texts(column)
    if not texts:
        raise SkipSample(f"{look.row.key}: no caption")
    return texts[0]
