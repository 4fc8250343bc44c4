"""A tiny checkpoint in BEATs' layout, the same on every machine, and what it is asked to embed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.towers.scattered import scattered

SECONDS, WIDTH, LAYERS = 0.6, 24, 2
SETTINGS: dict[str, Any] = {
    "input_patch_size": 16, "embed_dim": 16, "conv_bias": False, "encoder_layers": LAYERS, "encoder_embed_dim": WIDTH,
    "encoder_ffn_embed_dim": 40, "encoder_attention_heads": 3, "activation_fn": "gelu", "layer_norm_first": False,
    "deep_norm": True, "conv_pos": 6, "conv_pos_groups": 4, "relative_position_embedding": True, "num_buckets": 20,
    "max_distance": 15, "gru_rel_pos": True, "finetuned_model": True, "predictor_class": 5, "dropout": 0.1,
    "layer_wise_gradient_decay_ratio": 0.6,
}  # fmt: skip
FIELDS = {"seconds": SECONDS}


def shapes() -> dict[str, tuple[int, ...]]:
    """Every name of the published layout, of a fine-tuned model."""
    layer = {
        "self_attn.grep_a": (1, 3, 1, 1), "self_attn.grep_linear.weight": (8, WIDTH // 3),
        "self_attn.grep_linear.bias": (8,), "fc1.weight": (40, WIDTH), "fc1.bias": (40,), "fc2.weight": (WIDTH, 40),
        "fc2.bias": (WIDTH,), "self_attn.relative_attention_bias.weight": (20, 3),
        **{f"self_attn.{name}_proj.{kind}": (WIDTH,) * number
           for name in ("q", "k", "v", "out") for kind, number in (("weight", 2), ("bias", 1))},
        **{f"{name}_layer_norm.{kind}": (WIDTH,) for name in ("self_attn", "final") for kind in ("weight", "bias")},
    }  # fmt: skip
    return {
        "patch_embedding.weight": (16, 1, 16, 16), "layer_norm.weight": (16,), "layer_norm.bias": (16,),
        "post_extract_proj.weight": (WIDTH, 16), "post_extract_proj.bias": (WIDTH,),
        "encoder.pos_conv.0.weight_g": (1, 1, 6), "encoder.pos_conv.0.weight_v": (WIDTH, WIDTH // 4, 6),
        "encoder.pos_conv.0.bias": (WIDTH,), **{f"encoder.layer_norm.{kind}": (WIDTH,) for kind in ("weight", "bias")},
        **{f"encoder.layers.{number}.{name}": shape for number in range(LAYERS) for name, shape in layer.items()},
        "predictor.weight": (5, WIDTH), "predictor.bias": (5,),
    }  # fmt: skip


def tiny_state() -> dict[str, Tensor]:
    """Scattered weights, norms and lengths around one."""
    state = {}
    for number, (name, shape) in enumerate(sorted(shapes().items())):
        places = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
        around = float("norm.weight" in name or name.endswith(("grep_a", "weight_g")))
        state[name] = (around + 0.3 * scattered(places, number)).float()
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    return state | {table.format(number): 4 * state[table.format(0)] for number in range(LAYERS)}


def write_tiny(folder: Path, **changed: Any) -> Path:
    """As BEATs publishes it."""
    torch.save({"cfg": SETTINGS | changed, "model": tiny_state()}, folder / "BEATs_tiny.pt")
    return folder / "BEATs_tiny.pt"


def sounds() -> list[np.ndarray]:
    """A sound of one window, of less, of more."""
    made = []
    for number, seconds in enumerate((SECONDS, 0.25, 0.9)):
        places = torch.arange(round(seconds * 16_000), dtype=torch.float64)
        time = places / 16_000
        wave = 0.3 * (2 * torch.pi * (200 + 150 * number + 900 * time) * time).sin() + 0.05 * scattered(places, number)
        made.append(wave.float().numpy())
    return made
