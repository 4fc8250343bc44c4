"""A small transformer over classes of tokens, of an objective's own."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class TokenReader(nn.Module):
    """Classes to vectors, each of which has seen all real ones; another vector may stand before them."""

    def __init__(self, classes: int, *, longest: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.positions = nn.Parameter(0.02 * torch.randn(longest, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, norm_first=True, batch_first=True, activation="gelu"
        )
        norm = nn.LayerNorm(width)
        self.inner = nn.TransformerEncoder(layer, layers, norm=norm, enable_nested_tensor=False)

    def forward(
        self, classes: Int[Tensor, "R L"], real: Bool[Tensor, "R L"], before: Float[Tensor, "R width"] | None = None
    ) -> Float[Tensor, "R L width"]:
        """Read; a row without a real class and without ``before`` sees its first place."""
        x = self.embed(classes) + self.positions[: classes.shape[1]]
        if before is None:
            first = torch.zeros_like(real)
            first[:, 0] = ~real.any(dim=1)
            return self.inner(x, src_key_padding_mask=~(real | first))
        x, seen = torch.cat([before[:, None], x], dim=1), torch.cat([torch.ones_like(real[:, :1]), real], dim=1)
        return self.inner(x, src_key_padding_mask=~seen)[:, 1:]
