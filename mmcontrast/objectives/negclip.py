"""NegCLIP: InfoNCE with perturbed captions, perturbed pictures or both as extra negatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import Key, ScaledPairConfig, Tile, compare, cross_entropy_row, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("negclip", "hard_negative_captions")
class NegCLIP(Objective):
    r"""Symmetric InfoNCE whose key sides also hold made negatives.

        loss_i = -( log softmax over {b_j} and {n_j} of s sim(a_i, .) at b_i
                  + log softmax over {a_j} and {m_j} of s sim(b_i, .) at a_i ) / 2,

    with n the made negatives of the second column (swapped words, say) and m those of the first.

    Needs: the pair and the negative columns; the ``group`` label if one is named.
    Relations: equals ``infonce`` when every made negative is absent.
    Source: Yuksekgonul et al. 2023, arXiv:2210.01936, section 4 (text side); made negatives on both sides as in
    Patel et al. 2024 (TripletCLIP), arXiv:2411.02545.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        negatives: str | None = "text.swapped"  # made negatives of the pair's second column
        first_negatives: str | None = None  # made negatives of the pair's first column

        def __post_init__(self) -> None:
            ScaledPairConfig.__post_init__(self)
            extra = [name for name in (self.negatives, self.first_negatives) if name]
            if not extra:
                raise ValueError("name a column in negatives or first_negatives; with neither it is infonce.")
            if len({*self.pair, *extra}) < 2 + len(extra):
                raise ValueError("negatives must be columns of their own, different from the pair's.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, the made negatives, and the group label."""
        extra = [name for name in (self.config.negatives, self.config.first_negatives) if name]
        return pair_needs([*self.config.pair, *extra], self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        first, second = (emb[name] for name in self.config.pair)
        group = emb.label(self.config.group) if self.config.group else None
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        def keys(positive: str, negative: str | None) -> list[Key]:
            made = [Key(emb[negative], "negative")] if negative else []
            return [Key(emb[positive], "positive"), *made]

        there = compare(first, keys(self.config.pair[1], self.config.negatives), per_row, group=group)
        back = compare(second, keys(self.config.pair[0], self.config.first_negatives), per_row, group=group)
        loss = comm.row_mean((there + back) / 2, (first.present & second.present).float())
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
