"""PixPro: places of two views that are the same place of the picture agree, after each has asked its likes."""

from __future__ import annotations

import copy
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.config import Count, Fraction, NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces, refuse_one_column
from mmcontrast.objectives.grid import square_side
from mmcontrast.objectives.predictor import Predictor
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("pixpro", "pixel_consistency")
class PixPro(Objective):
    r"""Pixel-to-propagation consistency.

    With x_i = P(token i), x'_i that of the momentum copy's tokens by P's average, and propagation

        y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j)   over the tokens j of the same view,
        loss = mean over rows, and over pairs (i, j) of near places in both views, of -cos(y_i, x'_j) - cos(y_j, x'_i),

    g a matrix.  Places are near if the centres of their tokens, in the picture, lie within ``near`` times the diagonal
    of the larger of the two views' tokens.

    Needs: the tokens of both views, online and by the momentum copy, and the label ``INNER.box``: where the
    inner view lies in the outer one (``inner_crop`` derives both).
    Relations: the copy's speed is ``model.momentum``.  Beside ``byol`` or ``simclr`` it is the paper's combination
    with an instance-level loss.
    Source: Xie et al. 2020, arXiv:2011.10043, section 3.  P has layer norm where theirs has batch norm; the
    second view is a crop of the first where theirs are two crops of one picture.
    """

    @config
    class Config:
        """Fields of the objective."""

        outer: str = "image"  # the whole view; its tower must return a square grid of tokens
        inner: str = "image.inner"  # the part of it
        near: Positive = 0.7  # the paper's
        gamma: Positive = 2.0  # sharpness of the propagation, the paper's
        dim: Count = 256  # of a place, the paper's
        hidden: Count = 2048  # width inside P, the paper's
        keep: Fraction = 0.99  # share that P's average keeps of itself at each update, the paper's start
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            refuse_one_column((self.outer, self.inner))
            if self.outer.partition(".")[0] != self.inner.partition(".")[0]:
                raise ValueError("outer and inner must be of one modality.")

    projection: nn.Sequential
    averaged: nn.Sequential

    def attach(self, spaces: Spaces) -> None:
        """Build the projection, its average and the propagation's matrix."""
        config = self.config
        width = spaces.token_widths[config.outer.partition(".")[0]]
        self.projection = nn.Sequential(Predictor(dim=width, hidden=config.hidden), nn.Linear(width, config.dim))
        self.averaged = copy.deepcopy(self.projection).requires_grad_(False)
        self.transform = nn.Linear(config.dim, config.dim)

    def needs(self) -> Needs:
        """Tokens of the views by both encoders, and the box."""
        views = tuple(sorted((self.config.outer, self.config.inner)))
        return Needs(embeddings=(), tokens=views, momentum=views, labels=(f"{self.config.inner}.box",))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with both views.

        Raises:
            ConfigError: the tokens are no square grid.
        """
        names = (self.config.outer, self.config.inner)
        box = emb.label(f"{self.config.inner}.box").float()
        online, slow = [], []
        for name in names:
            tokens, copied = emb.tokens(name), emb.momentum(name).tokens
            assert copied is not None, "the model keeps the copy's tokens of columns whose tokens are read"
            online.append(self._propagated(self.projection(tokens.values.float())))
            slow.append(self.averaged(copied.values.float()).detach())
        near = near_places(box, self._grid(online[0]), self._grid(online[1]), near=self.config.near).float()
        outer, inner = (
            _cosines(online[0], slow[1]) * near,
            _cosines(online[1], slow[0]).transpose(1, 2) * near,
        )
        pairs = near.sum(dim=(1, 2))
        rows = -(outer + inner).sum(dim=(1, 2)) / pairs.clamp_min(1)
        both = emb.tokens(names[0]).real.any(dim=1) & emb.tokens(names[1]).real.any(dim=1)
        weight = both.float() * (pairs > 0)
        return Terms(loss=comm.row_mean(rows, weight), scalars={"near_pairs": comm.row_mean(pairs, both.float())})

    def _propagated(self, x: Float[Tensor, "B T dim"]) -> Float[Tensor, "B T dim"]:
        unit = normalize(x, dim=2)
        return (unit @ unit.transpose(1, 2)).clamp_min(0) ** self.config.gamma @ self.transform(x)

    def _grid(self, tokens: Float[Tensor, "B T dim"]) -> int:
        return square_side(tokens, who="pixpro", column=self.config.outer)

    @torch.no_grad()
    def after_step(self, emb: Embeddings) -> None:
        """Move the projection's average to the learned one."""
        for mine, learned in zip(self.averaged.parameters(), self.projection.parameters(), strict=True):
            mine.lerp_(learned, 1 - self.config.keep)


def _cosines(a: Float[Tensor, "B T dim"], b: Float[Tensor, "B U dim"]) -> Float[Tensor, "B T U"]:
    return normalize(a, dim=2) @ normalize(b, dim=2).transpose(1, 2)


def near_places(
    box: Float[Tensor, "B 5"], outer: int, inner: int, *, near: float
) -> Bool[Tensor, "B outer*outer inner*inner"]:
    """Which tokens of a view and of a part of it are the same place.

    Args:
        box: left, top, width and height of the part as shares of the view; 1 where it is mirrored.
        outer, inner: tokens along a side.
        near: largest distance of their centres, in diagonals of the larger token.
    """
    left, top, width, height, mirrored = (each[:, None] for each in box.unbind(dim=1))  # (B, 1)
    along, across = (torch.arange(side, device=box.device) + 0.5 for side in (outer, inner))
    whole = along / outer  # (outer,)
    share = across / inner
    x = left + width * torch.where(mirrored > 0.5, 1 - share, share)  # (B, inner)
    y = top + height * share
    # Tokens run along the rows of the grid: token = row * side + column.
    apart_x = (whole[None, :, None] - x[:, None, :]).square()  # (B, outer, inner), of columns
    apart_y = (whole[None, :, None] - y[:, None, :]).square()
    apart = (apart_y[:, :, None, :, None] + apart_x[:, None, :, None, :]).sqrt().flatten(3, 4).flatten(1, 2)
    diagonal = torch.hypot(width, height).squeeze(1) / inner
    larger = diagonal.clamp_min(math.sqrt(2) / outer)
    return apart <= near * larger[:, None, None]
