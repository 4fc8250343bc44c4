"""HTSAT's sizes, read off the shapes of its weights in LAION-CLAP's names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmcontrast.errors import CheckpointError

BIAS = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table")

# Names in our model of what follows from sizes.
COMPUTED = (
    "towers.audio.layers.{stage}.blocks.{block}.attn_mask",
    "towers.audio.layers.{stage}.blocks.{block}.attn.relative_position_index",
)


def fusion_kind(state: Mapping[str, Tensor]) -> Any:
    """Which of the fusions a branch of LAION-CLAP has; none: it reads waveforms."""
    way = {True: "iaff", False: "aff"}[any(".local_att2." in f".{name}" for name in state)]
    for conv, home, kind in (("patch_embed.mel_conv2d", "patch_embed.", "2d"), ("mel_conv1d.0", "", "1d")):
        if f"{conv}.weight" in state:
            attended = f"{home}fusion_model.local_att.0.weight" in state
            return f"{way if attended else 'daf'}_{kind}"
    first = state.get("patch_embed.proj.weight")
    return "channel_map" if first is not None and first.ndim == 4 and first.shape[1] == 4 else None


def htsat_sizes(state: Mapping[str, Tensor], *, where: str) -> dict[str, Any]:
    """Fields of the ``htsat`` tower that shapes tell.

    Args:
        state: the audio branch, names as in ``layers.0.blocks.0.attn.qkv.weight``.

    Raises:
        CheckpointError: it is no HTSAT.
    """
    blocks: dict[int, int] = {}
    heads: dict[int, int] = {}
    for name, value in state.items():
        if found := BIAS.fullmatch(name):
            stage = int(found[1])
            blocks[stage] = max(blocks.get(stage, 0), int(found[2]) + 1)
            heads[stage] = value.shape[1]
    first = state.get("patch_embed.proj.weight")
    if first is None or first.ndim != 4 or not blocks or sorted(blocks) != list(range(len(blocks))):
        raise CheckpointError(f"'{where}' holds no HTSAT: its patch embedding or attention is not there.")
    window = (math.isqrt(len(state["layers.0.blocks.0.attn.relative_position_bias_table"])) + 1) // 2
    sizes: dict[str, Any] = {
        "patch": int(first.shape[2]),
        "width": int(first.shape[0]),
        "depths": tuple(blocks[stage] for stage in range(len(blocks))),
        "heads": tuple(heads[stage] for stage in range(len(blocks))),
        "window": int(window),
    }
    mask = state.get("layers.0.blocks.1.attn_mask")
    if mask is not None:  # (windows, N, N): how many windows the first grid has
        sizes["size"] = math.isqrt(len(mask)) * sizes["window"] * sizes["patch"]
    return sizes
