"""Soft targets: what a teacher, or the model's own momentum copy, finds similar is no plain negative."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Fraction, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import MASKED, Key, ScaledPairConfig, Temperature, Tile, compare, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("soft_targets", "self_distillation", "momentum_distillation")
class SoftTargets(Objective):
    r"""InfoNCE towards a mixture of the one-hot target and another model's distribution.

        loss_i = -sum_j ((1 - alpha) [i = j] + alpha Q_ij) log softmax_j(s sim(a_i, b_j)),
        Q_i = softmax_j(sim(a'_i, b'_j) / t),

    a' and b' by the momentum copy (self-distillation) or by a frozen teacher, without gradient; in both directions.

    Needs: the two columns, and both by the momentum copy or the teacher.
    Relations: alpha 0 is ``infonce``.
    Source: Li et al. 2021 (ALBEF), arXiv:2107.07651, over the batch in the place of its queue; targets
    from a teacher: Andonian et al. 2022, arXiv:2204.04588, section 3.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        targets: Literal["momentum", "teacher"] = "momentum"  # whose similarities
        alpha: Fraction = 0.4  # share of the soft targets, ALBEF's
        target_temperature: Temperature = 0.07  # t

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The pair, and the pair as the other model sees it."""
        pair = tuple(sorted(self.config.pair))
        return pair_needs(pair, self.config.group) | Needs(embeddings=(), **{self.config.targets: pair})

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        read = emb.momentum if self.config.targets == "momentum" else emb.teacher
        group = emb.label(self.config.group) if self.config.group else None
        columns = [emb[name] for name in self.config.pair]
        others = [read(name) for name in self.config.pair]
        scale, alpha = self.scale(), self.config.alpha
        total = torch.zeros(len(columns[0].z), device=columns[0].z.device)
        for side, query in enumerate(columns):
            target_logits = _logits(others[side], others[1 - side], self.config.target_temperature)

            def per_row(tile: Tile, target_logits: _Logits = target_logits) -> Tensor:
                seen = tile.positive | tile.negative
                log_p = (scale * tile.similarity).masked_fill(~seen, MASKED).log_softmax(dim=1)
                soft = target_logits(tile.rows).masked_fill(~seen, MASKED).softmax(dim=1)
                target = (1 - alpha) * tile.positive.to(soft.dtype) + alpha * soft
                return -(target * log_p.masked_fill(~seen, 0.0)).sum(dim=1)

            total = total + compare(query, [Key(columns[1 - side], "positive")], per_row, group=group) / 2
        both = (columns[0].present & columns[1].present).float()
        return Terms(loss=comm.row_mean(total, both), scalars={"logit_scale": scale.detach().squeeze(0)})


class _Logits:
    """Another model's logits of some rows against every rank's keys."""

    def __init__(self, query: Tensor, keys: Tensor, temperature: float) -> None:
        self.query, self.keys, self.temperature = query, keys, temperature

    def __call__(self, rows: slice) -> Tensor:
        return self.query[rows] @ self.keys.T / self.temperature


def _logits(query: Embedded, key: Embedded, temperature: float) -> _Logits:
    return _Logits(query.z.detach().float(), comm.gather(key.z.detach().float()), temperature)
