"""Linear layers and attention as products of matrices, which onnxruntime multiplies quicker.

torch's exporter turns a linear layer over tokens into a batch of products and an addition, for which onnxruntime has
slower kernels than for one product with a bias; and ``nn.MultiheadAttention`` into dozens of slices and copies.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class FlatLinear(nn.Linear):
    """A linear layer whose rows stand one below the other while it multiplies."""

    def forward(self, values: Tensor) -> Tensor:
        """Multiply the last axis."""
        return _flat(values, self.weight, self.bias)


class PlainAttention(nn.MultiheadAttention):
    """Self-attention written out; anything else is left to torch."""

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, **more: Any,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Attend; weights are never returned."""
        if key is not query or value is not query or query.dim() != 3:
            return super().forward(query, key, value, key_padding_mask, need_weights, attn_mask, **more)
        values = query if self.batch_first else query.transpose(0, 1)
        rows, tokens, width = values.shape
        heads = _flat(values, self.in_proj_weight, self.in_proj_bias).split(width, dim=-1)
        shape = (rows, tokens, self.num_heads, width // self.num_heads)
        q, k, v = (each.reshape(shape).transpose(1, 2) for each in heads)  # (B, heads, T, d)
        scores = (q * (width // self.num_heads) ** -0.5) @ k.transpose(-2, -1)
        if attn_mask is not None:
            mask = _additive(attn_mask, scores.dtype)
            scores = scores + (mask if mask.dim() == 2 else mask.reshape(rows, self.num_heads, tokens, tokens))
        if key_padding_mask is not None:
            scores = scores + _additive(key_padding_mask, scores.dtype)[:, None, None, :]
        found = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(rows, tokens, width)
        found = self.out_proj(found)
        return (found if self.batch_first else found.transpose(0, 1)), None


def with_plain_products(module: nn.Module) -> nn.Module:
    """A copy of a module in evaluation, in which linear layers and self-attention are written out."""
    changed = copy.deepcopy(module)
    for each in changed.modules():
        if isinstance(each, nn.MultiheadAttention) and _ordinary(each):
            each.__class__ = PlainAttention
        elif type(each) is nn.Linear or isinstance(each, nn.modules.linear.NonDynamicallyQuantizableLinear):
            each.__class__ = FlatLinear
    return changed


def _ordinary(attention: nn.MultiheadAttention) -> bool:
    same_width = attention.in_proj_weight is not None
    return same_width and attention.bias_k is None and not attention.add_zero_attn


def _flat(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if values.dim() < 3:
        return linear(values, weight, bias)
    return linear(values.flatten(0, -2), weight, bias).reshape(*values.shape[:-1], weight.shape[0])


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers to add: True is left out."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -torch.inf)
