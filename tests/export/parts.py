"""A tiny model around one example tower, with a head that folds into nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.part import Part
from mmcontrast.export.run_export import new_format
from mmcontrast.model import Model, ModelConfig
from tests.contracts.examples import tower_config

QUICK = ("small_resnet", "small_audio_cnn", "text_transformer")  # the quickstart's
OTHERS = (
    "htsat",
    "open_clip_image",
    "open_clip_text",
    "hugging_face_text",
    "ngram_text",
    "timm_image",
    "timm_spectrogram",
)


def part_of(*names: str, folder: Path, dim: int = 8, **fields: Any) -> Part:
    """Untrained towers by their registered names; ``fields`` are other values of the first one's config."""
    first, *others = (tower_config(name, folder / "files") for name in names)
    configs = [replace(first, **fields), *others]
    torch.manual_seed(0)
    model = Model(ModelConfig(dim=dim, towers={config.modality: config for config in configs}))
    return Part(model.eval().requires_grad_(False))


def written(name: str, part: Part, folder: Path, dtype: str = "fp32") -> tuple[ExportFormat, Read]:
    """Write a part in a format, and read it back through its target."""
    export_format = new_format(name)
    export_format.write(part, folder, dtype=dtype)  # type: ignore[arg-type]
    return export_format, export_format.read(folder, part)
