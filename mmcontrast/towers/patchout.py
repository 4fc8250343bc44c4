"""Patchout: whole mel rows and time columns of a spectrogram's patches are left out in training.

Letters: R rows of patches (mels), C columns (time), K kept patches.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmcontrast.errors import ConfigError

Share = Annotated[float, Ge(0), Lt(1)]


class Patchout(nn.Module):
    """Drops shares of the rows and columns of a grid of patches, drawn anew for each row of the batch.

    Every row of the batch keeps as many patches; at least one row and one column of patches stay.  Evaluation drops
    nothing.

    Source: Koutini et al. 2021, arXiv:2110.05069, section 2.2, structured patchout; there one draw serves a batch.
    """

    def __init__(self, *, grid: tuple[int, int], mels: float, time: float, prefix_tokens: int = 0) -> None:
        """Note the sizes.

        Args:
            grid: rows and columns of patches.
            mels: share of the rows that is dropped.
            time: share of the columns.
            prefix_tokens: tokens before the patches; they always stay.
        """
        super().__init__()
        self.grid, self.prefix_tokens = grid, prefix_tokens
        self.kept = (max(1, grid[0] - round(mels * grid[0])), max(1, grid[1] - round(time * grid[1])))

    def forward(self, tokens: Float[Tensor, "B T width"]) -> Float[Tensor, "B K width"]:
        """Keep some of the patches, in their order."""
        if not self.training or self.kept == self.grid:
            return tokens
        rows, columns = (
            _some(len(tokens), count, kept, tokens.device) for count, kept in zip(self.grid, self.kept, strict=True)
        )
        places = (rows[:, :, None] * self.grid[1] + columns[:, None, :]).flatten(1) + self.prefix_tokens  # (B, K)
        kept = tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))
        return torch.cat([tokens[:, : self.prefix_tokens], kept], dim=1)


def _some(batch: int, count: int, kept: int, device: torch.device) -> Int[Tensor, "B kept"]:
    return torch.rand(batch, count, device=device).argsort(dim=1)[:, :kept].sort(dim=1).values


def install_patchout(inner: Any, *, mels: float, time: float, name: str) -> None:
    """Put patchout in the place of a timm ViT's own dropping of patches, after the positions are added.

    Raises:
        ConfigError: not a ViT, whose patches cannot be left out.
    """
    if not mels and not time:
        return
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(inner, VisionTransformer):
        raise ConfigError(f"patchout: '{name}' is no plain ViT: its patches cannot be left out. Use masks instead.")
    grid = tuple(inner.patch_embed.grid_size)  # type: ignore[arg-type]
    patchout: Any = Patchout(grid=grid, mels=mels, time=time, prefix_tokens=inner.num_prefix_tokens)  # type: ignore[arg-type]
    inner.patch_drop = patchout
