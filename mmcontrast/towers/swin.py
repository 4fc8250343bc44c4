"""Swin transformer stages: attention in windows, shifted every second block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

# Letters here: N tokens of a window, W windows of a picture.


class SwinStage(nn.Module):
    """Blocks over one grid, then an optional halving of it.

    Source: Liu et al. 2021, arXiv:2103.14030.
    """

    def __init__(
        self, width: int, *, grid: int, heads: int, window: int, drop_paths: list[float], downsample: bool
    ) -> None:
        super().__init__()
        window = min(window, grid)
        self.blocks = nn.ModuleList(
            SwinBlock(
                width,
                grid=grid,
                heads=heads,
                window=window,
                shift=0 if number % 2 == 0 or window == grid else window // 2,
                drop_path=rate,
            )
            for number, rate in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(width, grid=grid) if downsample else None

    def forward(self, x: Float[Tensor, "B T width"], through: Callable[[nn.ModuleList, Tensor], Tensor]) -> Tensor:
        """Run the stage; ``through`` runs a tensor through blocks."""
        x = through(self.blocks, x)
        return x if self.downsample is None else self.downsample(x)


class SwinBlock(nn.Module):
    """Window attention and an MLP, each after a layer norm."""

    def __init__(self, width: int, *, grid: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.grid, self.window, self.shift, self.drop_path = grid, window, shift, drop_path
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads=heads, window=window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.register_buffer("attn_mask", shift_mask(grid, window, shift) if shift else None)

    def forward(self, x: Float[Tensor, "B T width"]) -> Float[Tensor, "B T width"]:
        """Mix within windows, then channels."""
        rows, tokens, width = x.shape
        grid, window, count = self.grid, self.window, self.grid // self.window
        y = self.norm1(x).view(rows, grid, grid, width)
        if self.shift:
            y = y.roll((-self.shift, -self.shift), dims=(1, 2))
        y = y.view(rows, count, window, count, window, width).transpose(2, 3)
        mask = self.attn_mask
        assert mask is None or isinstance(mask, Tensor)
        y = self.attn(y.reshape(rows, count * count, window * window, width), mask)
        y = y.view(rows, count, count, window, window, width).transpose(2, 3).reshape(rows, grid, grid, width)
        if self.shift:
            y = y.roll((self.shift, self.shift), dims=(1, 2))
        x = x + self._drop(y.view(rows, tokens, width))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1 - self.drop_path)


class WindowAttention(nn.Module):
    """Attention inside each window, with a learned bias for each relative position."""

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + window - 1  # (2, N, N)
        self.register_buffer("relative_position_index", apart[0] * (2 * window - 1) + apart[1])
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "B W N width"], mask: Float[Tensor, "W N N"] | None) -> Tensor:
        """Attend within windows; the bias and the shift's mask enter as one additive mask."""
        rows, windows, tokens, width = x.shape
        query, key, value = self.qkv(x).view(rows, windows, tokens, 3, self.heads, -1).permute(3, 0, 1, 4, 2, 5)
        index = self.relative_position_index
        assert isinstance(index, Tensor)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None]  # (1, heads, N, N)
        bias = bias.expand(windows, -1, -1, -1) if mask is None else bias + mask[:, None]  # (W, heads, N, N)
        # Windows count as heads: the fused kernels take four axes and a mask that the rows share.
        query, key, value = (part.flatten(1, 2) for part in (query, key, value))  # (B, W * heads, N, width / heads)
        mask_of_all = bias.flatten(0, 1)[None].to(query.dtype)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask_of_all)
        mixed = mixed.unflatten(1, (windows, self.heads)).transpose(2, 3)  # (B, W, N, heads, width / heads)
        return self.proj(mixed.reshape(rows, windows, tokens, width))


class MLP(nn.Module):
    """Four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B T width"]) -> Float[Tensor, "B T width"]:
        """Mix channels."""
        return self.fc2(self.act(self.fc1(x)))


class PatchMerging(nn.Module):
    """Four neighbours side by side, projected to twice the width."""

    def __init__(self, width: int, *, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Float[Tensor, "B T width"]) -> Tensor:
        """Halve the grid."""
        rows, _, width = x.shape
        x = x.view(rows, self.grid, self.grid, width)
        corners = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(corners, dim=-1).view(rows, -1, 4 * width)))


def shift_mask(grid: int, window: int, shift: int) -> Float[Tensor, "W N N"]:
    """-100 between tokens of a shifted window that do not touch in the picture, else 0."""
    region = torch.zeros(grid, grid)
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in cuts for columns in cuts):
        region[rows, columns] = number
    count = grid // window
    parts = region.view(count, window, count, window).transpose(1, 2).reshape(count * count, window * window)
    return torch.where(parts[:, :, None] == parts[:, None, :], 0.0, -100.0)
