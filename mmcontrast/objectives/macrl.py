"""MACRL: a view under a mask is found among others, and what the mask hides is drawn."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.errors import ConfigError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.pairwise import (
    ScaledPairConfig,
    Temperature,
    Tile,
    cross_entropy_row,
    pair_needs,
    symmetric,
)
from mmcontrast.types import Column, Embeddings, Needs, Terms


@OBJECTIVES.register("macrl", "masked_reconstruction")
class MACRL(Objective):
    r"""Masked contrastive representation learning: contrast of two branches, and reconstruction.

        loss_i = contrast InfoNCE(m_i, v_i) + reconstruct  sum_(p hidden) |d(x_i)_p - y_ip| / number of hidden p,

    m the embedding of a picture most of which is covered, v that of another view, in both directions; x the tokens of
    the covered picture, d a small decoder of each token to the square of pixels in its place, y the picture beneath,
    in [-1, 1].  Hidden is where both pictures differ (``mask_patches`` derives the covered one).

    Needs: the embeddings of the pair, the tokens and pixels of the covered picture, the pixels of ``original``; the
    ``group`` label if one is named.
    Relations: ``reconstruct`` 0 is ``infonce`` of the pair; ``contrast`` 0 is SimMIM.
    Source: Yao et al. 2022, arXiv:2211.06012.  Theirs covers the second view too, less of it, and draws it as well,
    with transformers as decoders and a memory of keys (here: ``momentum_contrast``); tokens here are never left out,
    for any tower to fit, as in Xie et al. 2021 (SimMIM), arXiv:2111.09886.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        pair: tuple[str, str] = ("image.masked", "image.view2")  # the covered picture, and another view
        original: str = "image"  # column that the covered one is made of
        patch: Count = 16  # pixels a side of the square in a token's place
        width: Count = 256  # inside the decoder
        contrast: NonNegative = 1.0  # factor of the contrast
        reconstruct: NonNegative = 1.0  # factor of the reconstruction
        temperature: Temperature = 0.2  # start of the temperature (MoCo v3's)

    decoder: nn.Sequential

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def attach(self, spaces: Spaces) -> None:
        """Build the decoder."""
        width = spaces.token_widths[self.config.pair[0].partition(".")[0]]
        self.decoder = nn.Sequential(
            nn.Linear(width, self.config.width), nn.GELU(), nn.Linear(self.config.width, 3 * self.config.patch**2)
        )

    def needs(self) -> Needs:
        """Embeddings of the pair; tokens of the covered picture; pixels of it and of what is beneath."""
        masked = self.config.pair[0]
        inputs = tuple(sorted((masked, self.config.original)))
        return pair_needs(self.config.pair, self.config.group) | Needs(embeddings=(), tokens=(masked,), inputs=inputs)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the weighted sum of both means over rows.

        Raises:
            ConfigError: the tokens are not one a square.
        """
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        contrast = symmetric(emb, self.config, per_row)
        reconstruction = self._reconstruction(emb)
        loss = self.config.contrast * contrast + self.config.reconstruct * reconstruction
        scalars = {
            "contrast": contrast.detach(),
            "reconstruction": reconstruction.detach(),
            "logit_scale": scale.detach().squeeze(0),
        }
        return Terms(loss=loss, scalars=scalars)

    def _reconstruction(self, emb: Embeddings) -> Float[Tensor, ""]:
        name = self.config.pair[0]
        tokens = emb.tokens(name)
        masked, original = emb.input(name), emb.input(self.config.original)
        rows = (masked.present & original.present).nonzero().squeeze(1)
        drawn = self._drawn(tokens.values, _side(original))
        if len(rows) == 0:
            return comm.row_mean(drawn.flatten(1).mean(dim=1), torch.zeros(len(drawn), device=drawn.device))
        seen, beneath = masked.at(rows).values, original.at(rows).values
        hidden = (seen != beneath).any(dim=1, keepdim=True).float()  # (R, 1, S, S)
        distance = (drawn[rows] - (beneath.float() / 127.5 - 1)).abs().mean(dim=1, keepdim=True)
        count = hidden.sum(dim=(1, 2, 3))
        per_row = (distance * hidden).sum(dim=(1, 2, 3)) / count.clamp_min(1)
        return comm.row_mean(per_row, (count > 0).float())

    def _drawn(self, tokens: Float[Tensor, "B T width"], size: int) -> Float[Tensor, "B 3 S S"]:
        patch, grid = self.config.patch, math.isqrt(tokens.shape[1])
        if grid * grid != tokens.shape[1] or grid * patch != size:
            raise ConfigError(
                f"macrl: the tower returns {tokens.shape[1]} tokens of pictures of {size} pixels, not one for each "
                f"square of patch = {patch}. Set patch to pixels / tokens along a side."
            )
        squares = self.decoder(tokens.float()).view(len(tokens), grid, grid, 3, patch, patch)
        return squares.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), 3, size, size)


def _side(column: Column) -> int:
    return int(column.values.shape[-1])
