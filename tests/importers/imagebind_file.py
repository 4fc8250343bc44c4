"""A tiny checkpoint in ImageBind's layout, the same on every machine, and what it is asked to embed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.export.parity import pictures
from tests.towers.scattered import scattered

WIDTH, DIM = 16, 12
TRUNKS = {"vision": 2, "text": 2, "audio": 2, "depth": 1, "thermal": 1, "imu": 1}  # blocks
SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}
SIZES = {f"{name}_embed_dim": WIDTH for name in TRUNKS} | {f"{name}_num_blocks": each for name, each in TRUNKS.items()}
HEADS = {f"{name}_num_heads": 2 for name in TRUNKS}
FIELDS = {"image_heads": 2, "audio_heads": 2, "text_heads": 2}  # of the importer
CAPTIONS = ["", "a small dog on a beach", "the quick brown fox jumps over the lazy dog " * 12]
RATE_HZ = 16_000
SECONDS = (2.0, 0.75, 6.5)  # of the sounds


def stem(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of what comes before a trunk."""
    here = f"modality_preprocessors.{name}."
    norm = {f"{here}{{}}.norm_layer.weight": (WIDTH,), f"{here}{{}}.norm_layer.bias": (WIDTH,)}
    class_token = {f"{here}cls_token": (1, 1, WIDTH)}
    if name == "text":
        return {f"{here}token_embedding.weight": (49408, WIDTH), f"{here}pos_embed": (1, 77, WIDTH)}
    if name == "imu":
        shapes = {f"{here}{{}}.proj.weight": (WIDTH, 48), f"{here}pos_embed": (1, 251, WIDTH), **norm, **class_token}
        return {key.format("imu_stem"): shape for key, shape in shapes.items()}
    places = {"vision": 16 * 16, "audio": 12 * 19}.get(name, 14 * 14)
    grid = {f"{here}pos_embedding_helper.pos_embed": (1, 1 + places, WIDTH), **class_token}
    if name == "vision":
        return {f"{here}rgbt_stem.proj.1.weight": (WIDTH, 3, 2, 14, 14), **grid}
    shapes = {f"{here}{{}}.proj.weight": (WIDTH, 1, 16, 16), **norm}
    return {key.format("depth_stem" if name == "depth" else "rgbt_stem"): each for key, each in shapes.items()} | grid


def trunk(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a trunk and its head."""
    block = {
        "attn.in_proj_weight": (3 * WIDTH, WIDTH), "attn.in_proj_bias": (3 * WIDTH,),
        "attn.out_proj.weight": (WIDTH, WIDTH), "attn.out_proj.bias": (WIDTH,),
        "mlp.fc1.weight": (4 * WIDTH, WIDTH), "mlp.fc1.bias": (4 * WIDTH,),
        "mlp.fc2.weight": (WIDTH, 4 * WIDTH), "mlp.fc2.bias": (WIDTH,),
        **{f"norm_{number}.{kind}": (WIDTH,) for number in (1, 2) for kind in ("weight", "bias")},
    }  # fmt: skip
    if name not in ("vision", "text"):
        block |= {"attn.bias_k": (1, 1, WIDTH), "attn.bias_v": (1, 1, WIDTH)}
    here = f"modality_trunks.{name}."
    shapes = {f"{here}blocks.{number}.{key}": shape for number in range(TRUNKS[name]) for key, shape in block.items()}
    if name == "vision":
        shapes |= {f"{here}pre_transformer_layer.0.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    head = f"modality_heads.{name}." + ("proj." if name == "text" else "")
    last = {"text": 1, "imu": 3}.get(name, 2)
    return shapes | {f"{head}0.weight": (WIDTH,), f"{head}0.bias": (WIDTH,), f"{head}{last}.weight": (DIM, WIDTH)}


def tiny_state() -> dict[str, Tensor]:
    """Every name of the published layout, with scattered weights."""
    shapes = {key: shape for name in TRUNKS for key, shape in (stem(name) | trunk(name)).items()}
    state = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        places = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
        around = float("norm" in name and name.endswith("weight") or name.endswith(("heads.text.proj.0.weight",)))
        scale = 0.05 if "rgbt_stem.proj" in name else 0.3
        state[name] = (around + scale * scattered(places, number)).float()
    state |= {f"modality_postprocessors.{name}.1.log_logit_scale": torch.tensor(math.log(scale))
              for name, scale in SCALES.items()}  # fmt: skip
    state["modality_preprocessors.text.mask"] = torch.full((77, 77), float("-inf")).triu(1)
    return state


def write_tiny(folder: Path) -> Path:
    """As ImageBind publishes it."""
    torch.save(tiny_state(), folder / "imagebind_tiny.pth")
    return folder / "imagebind_tiny.pth"


def sounds() -> list[np.ndarray]:
    """A sound of one window, of less, of more; with an offset, which each clip loses."""
    made = []
    for number, seconds in enumerate(SECONDS):
        places = torch.arange(round(seconds * RATE_HZ), dtype=torch.float64)
        time = places / RATE_HZ
        wave = 0.3 * (2 * torch.pi * (200 + 150 * number + 90 * time) * time).sin() + 0.05 * scattered(places, number)
        made.append((0.02 * number + wave).float().numpy())
    return made


def asked() -> dict[str, list[Any]]:
    """Inputs by modality."""
    return {"image": list(pictures((224, 224), (224, 224))), "audio": sounds(), "text": CAPTIONS}
