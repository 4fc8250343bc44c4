"""DINO: the online views match the momentum copy's sharpened, centred distribution over prototypes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import Count, Fraction, NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.prototypes import Prototypes
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("dino")
class DINO(Objective):
    r"""Self-distillation with no labels.

        loss = mean over views t and columns v != t of  -sum_k P_k(t') log p_k(v),
        p(v) = softmax(C v / tau_s),   P(t') = softmax((C' t' - c) / tau_t), without gradient,

    t' the momentum copy's embedding of t, C the prototypes, C' their average and c the mean of C' t', both moving.

    Needs: the views and crops, and the views by the momentum copy.
    Relations: lightly's DINOLoss.  As a term beside ``infonce`` it is one of the improved baselines.
    Source: Caron et al. 2021, arXiv:2104.14294; beside CLIP: Fini et al. 2023, arXiv:2305.08675.
    The projection is the model's head and unit sphere; prototypes have length 1.
    """

    @config
    class Config:
        """Fields of the objective."""

        views: tuple[str, ...] = ("image", "image.view2")  # columns that teach and learn
        crops: tuple[str, ...] = ()  # columns that only learn: small crops
        prototypes: Count = 4096  # K; the paper has 65,536
        temperature: Positive = 0.1  # tau_s, the paper's
        teacher_temperature: Positive = 0.04  # tau_t, the paper's first
        keep_center: Fraction = 0.9  # share that the centre keeps of itself at each update, the paper's
        keep_prototypes: Fraction = 0.996  # the same of the averaged prototypes
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.views or len({*self.views, *self.crops}) < max(2, len(self.views) + len(self.crops)):
                raise ValueError("views and crops must be two or more different columns, one or more of them views.")

    prototypes: Prototypes
    averaged: Prototypes
    center: Tensor

    def attach(self, spaces: Spaces) -> None:
        """Build prototypes, their average and the centre."""
        self.prototypes = Prototypes(count=self.config.prototypes, dim=spaces.dim)
        self.averaged = Prototypes(count=self.config.prototypes, dim=spaces.dim)
        self.averaged.load_state_dict(self.prototypes.state_dict())
        self.averaged.requires_grad_(False)
        self.register_buffer("center", torch.zeros(self.config.prototypes))

    def needs(self) -> Needs:
        """Views and crops, and the views by the momentum copy."""
        views = tuple(sorted(self.config.views))
        return Needs(embeddings=tuple(sorted((*self.config.views, *self.config.crops))), momentum=views)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over pairs of views and rows with both."""
        names = (*self.config.views, *self.config.crops)
        log_p = {name: (self.prototypes(emb[name].z) / self.config.temperature).log_softmax(dim=1) for name in names}
        losses = []
        for teaching in self.config.views:
            scores = self.averaged(emb.momentum(teaching).z) - self.center
            target = (scores / self.config.teacher_temperature).softmax(dim=1).detach()
            for learning in names:
                if learning != teaching:
                    both = (emb[teaching].present & emb[learning].present).float()
                    losses.append(comm.row_mean(-(target * log_p[learning]).sum(dim=1), both))
        return Terms(loss=torch.stack(losses).mean())

    @torch.no_grad()
    def after_step(self, emb: Embeddings) -> None:
        """Move the centre to this update's mean score, and the averaged prototypes to the learned ones."""
        total, count = torch.zeros_like(self.center), torch.zeros(1, device=self.center.device)
        for name in self.config.views:
            column = emb.momentum(name)
            total += (self.averaged(column.z) * column.present[:, None]).sum(dim=0)
            count += column.present.sum()
        total, count = comm.all_sum(total), comm.all_sum(count)
        if float(count):
            self.center.lerp_(total / count, 1 - self.config.keep_center)
        self.averaged.weight.lerp_(self.prototypes.weight, 1 - self.config.keep_prototypes)
