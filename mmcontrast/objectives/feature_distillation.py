"""Feature distillation: the student's embeddings become the teacher's."""

from __future__ import annotations

import torch
from torch import nn

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.errors import NeedsError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.types import Embeddings, Needs, Terms


def teacher_width(spaces: Spaces, name: str) -> int:
    """Width of the teacher's embeddings.

    Raises:
        NeedsError: there is no teacher.
    """
    if spaces.teacher_dim is None:
        raise NeedsError(f"'{name}' needs a teacher: set teacher to the folder of a finished run.")
    return spaces.teacher_dim


def student_map(spaces: Spaces, name: str) -> nn.Module:
    """A matrix from the student's width to the teacher's; nothing where they agree.

    Raises:
        NeedsError: there is no teacher.
    """
    width = teacher_width(spaces, name)
    return nn.Identity() if width == spaces.dim else nn.Linear(spaces.dim, width, bias=False)


@OBJECTIVES.register("feature_distillation", "fd")
class FeatureDistillation(Objective):
    r"""Mean squared error to a frozen teacher's embeddings.

        loss = mean over columns of mean_i | W z_i - z'_i |^2,

    z' the teacher's; W a learned matrix where the widths differ, one a column.

    Needs: the columns, and the columns by the teacher.
    Source: Yang et al. 2024 (CLIP-KD), arXiv:2307.12732; after Romero et al. 2015, arXiv:1412.6550.
    CLIP-KD weighs it by 2000, since squared distances of unit vectors are small.
    """

    @config
    class Config:
        """Fields of the objective."""

        columns: tuple[str, ...] = ("image", "text")
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.columns or len(set(self.columns)) < len(self.columns):
                raise ValueError("columns must be one or more different columns.")

    maps: nn.ModuleList

    def attach(self, spaces: Spaces) -> None:
        """Build the maps to the teacher's width."""
        self.maps = nn.ModuleList(student_map(spaces, "feature_distillation") for _ in self.config.columns)

    def needs(self) -> Needs:
        """The columns, and the columns by the teacher."""
        columns = tuple(sorted(self.config.columns))
        return Needs(embeddings=columns, teacher=columns)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over columns and rows."""
        losses = []
        for name, to_teacher in zip(self.config.columns, self.maps, strict=True):
            distance = (to_teacher(emb[name].z.float()) - emb.teacher(name).z.float()).square().sum(dim=1)
            losses.append(comm.row_mean(distance, emb[name].present.float()))
        return Terms(loss=torch.stack(losses).mean())
