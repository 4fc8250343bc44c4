"""SwAV: each view predicts the cluster assignment of the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.prototypes import Prototypes, sinkhorn
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("swav", "swapped_prediction")
class SwAV(Objective):
    r"""Swapped assignments between views, with multi-crop.

        loss = mean over assigning views t and predicting views v != t of  -sum_k q_k(t) log p_k(v),

    p(v) the softmax of v's prototype scores over a temperature; q(t) the Sinkhorn assignment of the global batch's
    rows to prototypes in equal parts, without gradient.  ``crops`` predict and are not assigned.

    Needs: the views and crops.
    Relations: lightly's SwaVLoss.  A view of another modality is a view like any other.
    Source: Caron et al. 2020, arXiv:2006.09882.  There is no queue of past scores: a global
    batch should have several times as many rows as there are prototypes.
    """

    @config
    class Config:
        """Fields of the objective."""

        views: tuple[str, ...] = ("image", "image.view2")  # columns that are assigned and predict
        crops: tuple[str, ...] = ()  # columns that only predict: small crops
        prototypes: Count = 512  # clusters
        temperature: Positive = 0.1  # the paper's
        epsilon: Positive = 0.05  # softness of the assignment, the paper's
        iterations: Count = 3  # of Sinkhorn's algorithm, the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.views or len({*self.views, *self.crops}) < max(2, len(self.views) + len(self.crops)):
                raise ValueError("views and crops must be two or more different columns, one or more of them views.")

    prototypes: Prototypes

    def attach(self, spaces: Spaces) -> None:
        """Build the prototypes."""
        self.prototypes = Prototypes(count=self.config.prototypes, dim=spaces.dim)

    def needs(self) -> Needs:
        """Views and crops."""
        return Needs(embeddings=tuple(sorted((*self.config.views, *self.config.crops))))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over pairs of views and rows with both."""
        names = (*self.config.views, *self.config.crops)
        scores = {name: self.prototypes(emb[name].z) for name in names}
        losses = []
        for assigned in self.config.views:
            target = self._assignment(scores[assigned].detach(), emb[assigned].present)
            for predicting in names:
                if predicting != assigned:
                    log_p = (scores[predicting] / self.config.temperature).log_softmax(dim=1)
                    both = (emb[assigned].present & emb[predicting].present).float()
                    losses.append(comm.row_mean(-(target * log_p).sum(dim=1), both))
        return Terms(loss=torch.stack(losses).mean())

    def _assignment(self, scores: Tensor, present: Tensor) -> Tensor:
        """Assign this rank's rows, among all ranks' present ones: (B, K)."""
        kept = comm.gather(present)
        everyone = comm.gather(scores)
        whole = torch.zeros_like(everyone)
        fields: dict[str, Any] = {"epsilon": self.config.epsilon, "iterations": self.config.iterations}
        whole[kept] = sinkhorn(everyone[kept], **fields)
        start = comm.rank() * len(scores)
        return whole[start : start + len(scores)]
