"""How weights are stored: fp32, fp16, bf16, or int8 with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int8
from torch import Tensor

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
TORCH: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SCALE = "::scale"  # ending of the name of a tensor that holds the scales of another one


def quantized_rows(weight: Float[Tensor, "R ..."]) -> tuple[Int8[Tensor, "R ..."], Float[Tensor, " R"]]:
    """Round each row to 255 steps, symmetric about zero; return the steps and their size.

    The largest value of a row is kept to half a step; a row of zeros has step 1.
    """
    flat = weight.float().flatten(1)
    scale = flat.abs().amax(dim=1) / 127
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    steps = (flat / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return steps.view(weight.shape), scale


def dequantized_rows(steps: Int8[Tensor, "R ..."], scale: Float[Tensor, " R"]) -> Float[Tensor, "R ..."]:
    """Steps times their row's size."""
    return steps.float() * scale.view(-1, *[1] * (steps.ndim - 1))


def is_matrix(value: Tensor) -> bool:
    """Whether int8 is worth it: matrices, filters and tables; gains, biases and positions are small and stay."""
    return value.is_floating_point() and value.ndim >= 2 and value.shape[0] > 1 and value[0].numel() >= 16


def packed(state: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """Tensors to store, each contiguous and in memory of its own."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if dtype == "int8" and is_matrix(value):
            result[name], result[name + SCALE] = quantized_rows(value)
        elif value.is_floating_point() and dtype != "int8":
            result[name] = value.to(TORCH[dtype])
        else:
            result[name] = value
    return {name: value.detach().cpu().contiguous().clone() for name, value in result.items()}


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in float32, as a model loads them; integers as they are."""
    result = {}
    for name, value in stored.items():
        if name.endswith(SCALE):
            continue
        if name + SCALE in stored:
            value = dequantized_rows(value, stored[name + SCALE])
        result[name] = value.float() if value.is_floating_point() else value
    return result


def rounded(state: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """Weights in float32 that have been through a storage type: what every format of that type starts from."""
    return unpacked(packed(state, dtype))
