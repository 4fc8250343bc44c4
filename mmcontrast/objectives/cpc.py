"""CPC: what was seen so far foretells what comes next, among what comes next in other rows."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.errors import ConfigError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.grid import square_side
from mmcontrast.objectives.pairwise import Key, Tile, compare, cross_entropy_row
from mmcontrast.types import Embedded, Embeddings, Needs, Terms, Tokens


@OBJECTIVES.register("cpc", "contrastive_predictive_coding")
class CPC(Objective):
    r"""Contrastive predictive coding over a row's tokens.

    With codes z_it = V x_it of the tokens, in order, and contexts c_it of a recurrent network that read z_i1 .. z_it,

        loss = mean over t and k <= ahead of mean_i  -log( f_k(z_i,t+k, c_it) / sum_j f_k(z_j,t+k, c_it) ),
        f_k(z, c) = exp(z^T W_k c).

    ``frames`` reads tokens as they follow each other; ``patches`` takes them for a square grid, each column of which
    is a sequence from top to bottom.  Negatives are the same place of other rows and columns.

    Needs: the tokens of ``column``; the ``group`` label if one is named.
    Source: van den Oord et al. 2018, arXiv:1807.03748, equations 3 and 4.  Their encoder sees each patch or window by
    itself, ours are towers whose tokens overlap: a convolution's by its field of view, a transformer's wholly, for
    which the task is easy.  Contexts over pictures are of one column, where theirs also see the ones beside it.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the objective."""

        column: str = "audio"  # its tower must return tokens
        layout: Literal["frames", "patches"] = "frames"
        width: Count = 256  # of codes and contexts
        ahead: Count = 4  # how many tokens ahead are foretold (the paper: 12 of 10 ms, 5 rows of patches)
        contexts: Count = 4  # places that are foretold from, spread evenly over the row
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

    def attach(self, spaces: Spaces) -> None:
        """Build the codes, the recurrent network and a matrix for each step ahead."""
        width = self.config.width
        self.code = nn.Linear(spaces.token_widths[self.config.column.partition(".")[0]], width)
        self.context = nn.GRU(width, width, batch_first=True)
        self.foretell = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(self.config.ahead))

    def needs(self) -> Needs:
        """Tokens of the column."""
        labels = (self.config.group,) if self.config.group else ()
        return Needs(embeddings=(), tokens=(self.config.column,), labels=labels)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over places and steps of the mean over rows, and the share that is found.

        Raises:
            ConfigError: the tokens are no square grid, or too few to foretell any.
        """
        values, real = self._sequences(emb.tokens(self.config.column))
        group = emb.label(self.config.group) if self.config.group else None
        if group is not None:
            group = group.repeat_interleave(len(values) // len(group))
        codes = self.code(values.float())
        contexts, _ = self.context(codes)
        losses, found = [], []
        for place, step in self.pairs(codes.shape[1]):
            query = Embedded(self.foretell[step - 1](contexts[:, place]), real[:, place])
            key = Embedded(codes[:, place + step], real[:, place + step])
            rows = compare(query, [Key(key, "positive")], _surprise, group=group)
            both = (query.present & key.present).float()
            losses.append(comm.row_mean(rows[:, 0], both))
            found.append(comm.row_mean(rows[:, 1].detach(), both))
        return Terms(loss=torch.stack(losses).mean(), scalars={"accuracy": torch.stack(found).mean()})

    def pairs(self, length: int) -> list[tuple[int, int]]:
        """Places to foretell from, and how far ahead."""
        last = length - 2  # the last place with one behind it
        count = min(self.config.contexts, last + 1)
        places = sorted({round(number * last / max(1, count - 1)) for number in range(count)})
        steps = range(1, self.config.ahead + 1)
        return [(place, step) for place in places for step in steps if place + step < length]

    def _sequences(self, tokens: Tokens) -> tuple[Float[Tensor, "S T width"], Bool[Tensor, "S T"]]:
        values, real = tokens.values, tokens.real
        if self.config.layout == "patches":
            side = square_side(values, who="cpc", column=self.config.column, instead="Set layout: frames.")
            values = values.unflatten(1, (side, side)).transpose(1, 2).flatten(0, 1)
            real = real.unflatten(1, (side, side)).transpose(1, 2).flatten(0, 1)
        if values.shape[1] < 2:
            raise ConfigError(f"cpc: the tower of '{self.config.column}' returns too few tokens to foretell any.")
        return values, real


def _surprise(tile: Tile) -> Float[Tensor, "R 2"]:
    """Cross entropy of the row's own key, and whether no other is as near."""
    loss = cross_entropy_row(tile, tile.similarity)
    others = tile.similarity.masked_fill(~tile.negative, -torch.inf).amax(dim=1)
    own = tile.similarity.masked_fill(~tile.positive, -torch.inf).amax(dim=1)
    return torch.stack([loss, (own > others).to(loss.dtype)], dim=1)
