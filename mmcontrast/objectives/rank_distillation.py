"""Rank distillation: the student orders the other rows as the teacher does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.objectives.pairwise import MASKED, Key, PairConfig, Tile, compare, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("rank_distillation", "rank_cse")
class RankDistillation(Objective):
    r"""Listwise losses between a frozen teacher's similarities T and the student's S, over the other rows.

        listnet: loss_i = -sum_{j != i} softmax_j(T_ij / t) log softmax_j(S_ij / u),
        listmle: loss_i = -sum_m log( e^{S_i pi(m) / u} / sum_{n >= m} e^{S_i pi(n) / u} ),  pi sorts T_i downwards,

    S_ij = sim(a_i, b_j) and T_ij the teacher's, in both directions; listmle is divided by the list's length.

    Needs: the two columns, and both by the teacher.
    Source: Liu et al. 2023 (RankCSE), arXiv:2305.16726; Xia et al. 2008 for ListMLE.
    """

    @config
    class Config(PairConfig):
        """Fields of the objective."""

        kind: Literal["listnet", "listmle"] = "listnet"
        temperature: Positive = 0.05  # u
        teacher_temperature: Positive = 0.05  # t, of listnet

    def needs(self) -> Needs:
        """The pair, and the pair by the teacher."""
        pair = tuple(sorted(self.config.pair))
        return pair_needs(pair, self.config.group) | Needs(embeddings=(), teacher=pair)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        group = emb.label(self.config.group) if self.config.group else None
        columns = [emb[name] for name in self.config.pair]
        taught = [emb.teacher(name).z.detach().float() for name in self.config.pair]
        total = torch.zeros(len(columns[0].z), device=columns[0].z.device)
        for side, query in enumerate(columns):
            queries, keys = taught[side], comm.gather(taught[1 - side])

            def per_row(tile: Tile, queries: Tensor = queries, keys: Tensor = keys) -> Tensor:
                teacher = (queries[tile.rows] @ keys.T).masked_fill(~tile.negative, MASKED)
                return self._row(tile.similarity / self.config.temperature, teacher, tile.negative)

            total = total + compare(query, [Key(columns[1 - side], "self")], per_row, group=group) / 2
        both = (columns[0].present & columns[1].present).float()
        return Terms(loss=comm.row_mean(total, both))

    def _row(self, student: Tensor, teacher: Tensor, listed: Tensor) -> Tensor:
        student = student.masked_fill(~listed, MASKED)
        if self.config.kind == "listnet":
            target = (teacher / self.config.teacher_temperature).softmax(dim=1)
            return -(target * student.log_softmax(dim=1)).masked_fill(~listed, 0.0).sum(dim=1)
        order = teacher.argsort(dim=1, descending=True, stable=True)
        ranked, kept = student.gather(1, order), listed.gather(1, order)
        rest = ranked.flip(1).logcumsumexp(dim=1).flip(1)  # over this place and all after it
        return (rest - ranked).masked_fill(~kept, 0.0).sum(dim=1) / listed.sum(dim=1).clamp_min(1)
