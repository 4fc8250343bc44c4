"""Contrastive distillation: a student's embedding finds the teacher's of the same row."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.feature_distillation import student_map
from mmcontrast.objectives.pairwise import Key, ScaledPairConfig, Tile, compare, cross_entropy_row, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("contrastive_distillation", "crd", "ckd", "interactive_distillation")
class ContrastiveDistillation(Objective):
    r"""InfoNCE with student queries and frozen teacher keys.

        loss_i = -log softmax_j(s sim(W a_i, k_j))[i],

    with k the teacher's embeddings of the same column (``same``) or of the pair's other column (``other``), mean over
    both columns of the pair; W a learned matrix where the widths differ, one a column.

    Needs: the two columns, and both by the teacher; the ``group`` label if one is named.
    Source: ``other``: Yang et al. 2024 (CLIP-KD), arXiv:2307.12732 (interactive contrastive learning);
    ``same``: Tian et al. 2020 (CRD), arXiv:1910.10699, with in-batch InfoNCE in the place of its memory-based NCE.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        keys: Literal["same", "other"] = "other"  # whose teacher embeddings a student's finds

    maps: nn.ModuleList

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def attach(self, spaces: Spaces) -> None:
        """Build the maps to the teacher's width."""
        self.maps = nn.ModuleList(student_map(spaces, "contrastive_distillation") for _ in self.config.pair)

    def needs(self) -> Needs:
        """The pair, and the pair by the teacher."""
        pair = tuple(sorted(self.config.pair))
        return pair_needs(pair, self.config.group) | Needs(embeddings=(), teacher=pair)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and columns."""
        group = emb.label(self.config.group) if self.config.group else None
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        losses = []
        pair = self.config.pair
        for name, other, to_teacher in zip(pair, pair[::-1], self.maps, strict=True):
            mapped = normalize(to_teacher(emb[name].z.float()), dim=1)
            taught = emb.teacher(name if self.config.keys == "same" else other)
            query = Embedded(mapped * emb[name].present[:, None], emb[name].present)
            rows = compare(query, [Key(taught, "positive")], per_row, group=group)
            losses.append(comm.row_mean(rows, (query.present & taught.present).float()))
        return Terms(loss=torch.stack(losses).mean(), scalars={"logit_scale": scale.detach().squeeze(0)})
