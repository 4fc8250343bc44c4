"""A tiny model around one example tower, with a head that folds into nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from mmcontrast.export.part import Part
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


def part_of(*names: str, folder: Path, dim: int = 8) -> Part:
    """Untrained towers by their registered names."""
    configs = [tower_config(name, folder / "files") for name in names]
    torch.manual_seed(0)
    model = Model(ModelConfig(dim=dim, towers={config.modality: config for config in configs}))
    return Part(model.eval().requires_grad_(False))
