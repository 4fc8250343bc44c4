"""Affinity distillation: the student ranks the batch as the teacher does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import MASKED, Key, ScaledPairConfig, Temperature, Tile, compare, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("affinity_distillation", "contrastive_relational_distillation", "affinity_mimicking")
class AffinityDistillation(Objective):
    r"""Divergence between the contrastive distributions of a frozen teacher and of the student.

        loss_i = KL( softmax_j(sim(a'_i, b'_j) / t) || softmax_j(s sim(a_i, b_j)) ),

    in both directions, a' and b' by the teacher.

    Needs: the two columns, and both by the teacher; the ``group`` label if one is named.
    Relations: 0 where the student's similarities are the teacher's, at equal temperatures.
    Source: Yang et al. 2024 (CLIP-KD), arXiv:2307.12732 (CRD); Wu et al. 2023 (TinyCLIP),
    arXiv:2309.12314 (affinity mimicking, which has the cross entropy of the same distributions).
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        teacher_temperature: Temperature = 0.01  # t; a trained CLIP's is 0.01

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, and the pair by the teacher."""
        pair = tuple(sorted(self.config.pair))
        return pair_needs(pair, self.config.group) | Needs(embeddings=(), teacher=pair)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        group = emb.label(self.config.group) if self.config.group else None
        columns = [emb[name] for name in self.config.pair]
        taught = [emb.teacher(name).z.detach().float() for name in self.config.pair]
        scale, t = self.scale(), self.config.teacher_temperature
        total = torch.zeros(len(columns[0].z), device=columns[0].z.device)
        for side, query in enumerate(columns):
            queries, keys = taught[side], comm.gather(taught[1 - side])

            def per_row(tile: Tile, queries: Tensor = queries, keys: Tensor = keys) -> Tensor:
                seen = tile.positive | tile.negative
                log_p = (scale * tile.similarity).masked_fill(~seen, MASKED).log_softmax(dim=1)
                log_q = (queries[tile.rows] @ keys.T / t).masked_fill(~seen, MASKED).log_softmax(dim=1)
                return (log_q.exp() * (log_q - log_p)).masked_fill(~seen, 0.0).sum(dim=1)

            total = total + compare(query, [Key(columns[1 - side], "positive")], per_row, group=group) / 2
        both = (columns[0].present & columns[1].present).float()
        return Terms(loss=comm.row_mean(total, both), scalars={"logit_scale": scale.detach().squeeze(0)})
