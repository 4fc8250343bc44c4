"""Contrastive supervised distillation: new embeddings stay searchable among the old model's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.feature_distillation import student_map
from mmcontrast.objectives.pairwise import MASKED, Key, Temperature, Tile, compare, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("continual_distillation", "csd", "contrastive_supervised_distillation")
class ContinualDistillation(Objective):
    r"""Supervised contrast of the model being trained against the frozen model of before.

        loss_i = -1 / |P(i)| sum_{p in P(i)} log( e^{s sim(z_i, z'_p)} / sum_k e^{s sim(z_i, z'_k)} ),

    z' by the teacher, the model before this task; P(i) the row itself and the rows of its class.  The replay of old
    tasks is a source of the mixture.

    Needs: the column, the column by the teacher, and the class label.
    Relations: with distinct classes, ``contrastive_distillation`` with ``keys: same``.
    Source: Barletti et al. 2022, arXiv:2205.06688.
    """

    @config
    class Config:
        """Fields of the objective."""

        column: str = "image"
        group: str = "group"  # label that holds the classes; -1 is a class of one row
        temperature: Temperature = 0.1
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

    to_teacher: nn.Module

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=False)

    def attach(self, spaces: Spaces) -> None:
        """Build the map to the teacher's width."""
        self.to_teacher = student_map(spaces, "continual_distillation")

    def needs(self) -> Needs:
        """The column, the column by the teacher, and the class label."""
        column = (self.config.column,)
        return pair_needs(column, self.config.group) | Needs(embeddings=(), teacher=column)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows."""
        column = emb[self.config.column]
        mapped = normalize(self.to_teacher(column.z.float()), dim=1) * column.present[:, None]
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            logits = scale * tile.similarity
            positive = tile.positive | tile.alike
            total = logits.masked_fill(~(positive | tile.negative), MASKED).logsumexp(dim=1)
            return total - (logits * positive).sum(dim=1) / positive.sum(dim=1)

        query = Embedded(mapped, column.present)
        keys = [Key(emb.teacher(self.config.column), "positive")]
        rows = compare(query, keys, per_row, group=emb.label(self.config.group))
        return Terms(loss=comm.row_mean(rows, column.present.float()))
