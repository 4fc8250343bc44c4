"""LAION-CLAP's four terms: each modality is also compared with a small network's view of the other."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.pairwise import Key, ScaledPairConfig, Tile, compare, cross_entropy_row, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("transformed_contrast", "laion_clap", "mlp_contrast")
class TransformedContrast(Objective):
    r"""Symmetric cross entropy of a with g(b), and of f(a) with b, each with a temperature of its own.

        loss = ( CE(s_a a g(b)^T) + CE(s_a g(b) a^T) + CE(s_b f(a) b^T) + CE(s_b b f(a)^T) ) / 4,

    f and g two layers with a ReLU between; what they return is not scaled to the sphere, as in the reference.

    Needs: the two columns.
    Relations: with f and g the identity it is ``infonce``.
    Source: Wu et al. 2022 (LAION-CLAP), arXiv:2211.06687, whose paper shows two terms; the four are those of its
    code with ``mlp_loss``, with which its checkpoints were trained.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        pair: tuple[str, str] = ("audio", "text")
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1  # between the two layers

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scales = nn.ModuleList(
            LogitScale(temperature=config.temperature, learned=config.learn_temperature) for _ in config.pair
        )
        self.transforms = nn.ModuleList()

    def attach(self, spaces: Spaces) -> None:
        """Build f and g."""
        self.transforms.extend(
            nn.Sequential(
                nn.Linear(spaces.dim, spaces.dim),
                nn.ReLU(),
                nn.Dropout(self.config.dropout),
                nn.Linear(spaces.dim, spaces.dim),
            )
            for _ in self.config.pair
        )

    def needs(self) -> Needs:
        """The pair."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean of the four terms."""
        columns = [emb[name] for name in self.config.pair]
        group = emb.label(self.config.group) if self.config.group else None
        seen = [
            Embedded(transform(column.z.float()), column.present)
            for transform, column in zip(self.transforms, columns, strict=True)
        ]
        total = torch.zeros(len(columns[0].z), device=columns[0].z.device)
        for side, column in enumerate(columns):
            scale, other = self.scales[side](), seen[1 - side]
            total = total + _direction(column, other, scale, group) + _direction(other, column, scale, group)
        both = (columns[0].present & columns[1].present).float()
        return Terms(
            loss=comm.row_mean(total / 4, both),
            scalars={
                f"{name}.logit_scale": scale().detach().squeeze(0)
                for name, scale in zip(self.config.pair, self.scales, strict=True)
            },
        )


def _direction(query: Embedded, key: Embedded, scale: Tensor, group: Tensor | None) -> Tensor:
    def per_row(tile: Tile) -> Tensor:
        return cross_entropy_row(tile, scale * tile.similarity)

    return compare(query, [Key(key, "positive")], per_row, group=group)
