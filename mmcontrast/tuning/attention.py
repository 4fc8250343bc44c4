"""Self-attention of two linear layers, which adapters can stand beside."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SplitAttention(nn.Module):
    """Takes the place of a ``nn.MultiheadAttention`` and its weights.

    The module of torch multiplies by its weights itself, past any layer that could stand around them.

    Relations: equals ``nn.MultiheadAttention(batch_first=True)`` on one sequence.
    """

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        width, bias = fused.embed_dim, fused.in_proj_bias is not None
        self.heads, self.dropout = fused.num_heads, fused.dropout
        with torch.device("meta"):  # nothing is drawn
            self.in_proj, self.out_proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width, bias=bias)
        self.in_proj.weight, self.out_proj.weight = fused.in_proj_weight, fused.out_proj.weight
        if bias:
            self.in_proj.bias, self.out_proj.bias = fused.in_proj_bias, fused.out_proj.bias

    def forward(
        self,
        query: Float[Tensor, "B T width"],
        key: Float[Tensor, "B T width"],
        value: Float[Tensor, "B T width"],
        need_weights: bool = False,
        attn_mask: Float[Tensor, "T T"] | None = None,
    ) -> tuple[Float[Tensor, "B T width"], None]:
        """Mix tokens; ``attn_mask`` is added to the logits."""
        assert query is key and key is value and not need_weights, "self-attention alone"
        rows, tokens, width = query.shape
        parts = self.in_proj(query).view(rows, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, width / heads)
        dropout = self.dropout if self.training else 0.0
        mask = None if attn_mask is None else attn_mask.to(queries.dtype)
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).reshape(rows, tokens, width)), None


def split_attention(module: nn.Module) -> None:
    """Replace every self-attention of torch below ``module``; other attention stays."""
    for name, child in module.named_children():
        if type(child) is nn.MultiheadAttention and child.batch_first and child._qkv_same_embed_dim:
            if child.bias_k is None and not child.add_zero_attn:
                module.add_module(name, SplitAttention(child))
        else:
            split_attention(child)
