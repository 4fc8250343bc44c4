"""CatLIP: pretraining as multi-label classification of caption nouns, with no similarities at all."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.types import Embeddings, Needs, RowLosses, Terms


@OBJECTIVES.register("catlip", "multi_label")
class CatLIP(Objective):
    r"""Binary cross entropy over a vocabulary of classes.

        loss_i = -1/C sum_c ( y_ic log sigmoid(l_ic) + (1 - y_ic) log(1 - sigmoid(l_ic)) ),   l_i = W z_i + b,

    where y_ic says whether class c is among row i's labels.

    Needs: the column, and a label of shape (B, K) with class ids, padded with -1 (a row of padding alone is left out).
    Relations: costs O(B C D) and no gather: the batch's size does not enter.
    Source: Mehta et al. 2024, arXiv:2404.15653, section 3.
    """

    @config
    class Config:
        """Fields of the objective."""

        column: str = "image"
        labels: str = "nouns"  # label of class ids, (B, K)
        classes: Count  # C, size of the vocabulary
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

    classifier: nn.Linear

    def attach(self, spaces: Spaces) -> None:
        """Build the classifier."""
        self.classifier = nn.Linear(spaces.dim, self.config.classes)
        # Few classes of many hold for a row: start from that, and no step is spent on learning it.
        nn.init.constant_(self.classifier.bias, -math.log(self.config.classes))

    def needs(self) -> Needs:
        """The column and the label."""
        return Needs(embeddings=(self.config.column,), labels=(self.config.labels,))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with the column and any label."""
        column = emb[self.config.column]
        ids = emb.label(self.config.labels)
        ids = ids[:, None] if ids.dim() == 1 else ids  # (B, K)
        logits = nn.functional.linear(column.z.float(), self.classifier.weight.float(), self.classifier.bias.float())
        real = (ids >= 0) & (ids < self.config.classes)
        targets = torch.zeros_like(logits).scatter_reduce_(
            1, ids.clamp(0, self.config.classes - 1), real.to(logits.dtype), reduce="amax"
        )
        rows = (softplus(logits) - targets * logits).mean(dim=1)
        counted = column.present & real.any(dim=1)
        loss = comm.row_mean(rows, counted.float())
        return Terms(loss=loss, scalars=_accuracy(logits, targets, counted), rows=RowLosses(rows.detach(), counted))


@torch.no_grad()
def _accuracy(logits: Tensor, targets: Tensor, counted: Tensor) -> dict[str, Tensor]:
    """Share of rows whose highest class is one of theirs."""
    right = targets.gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)
    return {"top1": comm.row_mean(right, counted.float())}
