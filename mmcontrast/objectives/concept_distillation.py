"""DiHT's concept distillation: the student's head repeats which concepts a frozen teacher sees."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.feature_distillation import teacher_width
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("concept_distillation", "diht_distillation")
class ConceptDistillation(Objective):
    r"""Cross entropy of the student's concepts towards those of a classifier on a frozen teacher's embeddings.

    For each vocabulary of concepts (objects, attributes), with p_i = softmax(W z_i), q_i = softmax(V z'_i),

        loss = -mean_i sum_c q_ic log p_ic  -  mean_j sum_c y_jc log q_jc,

    z' the teacher's embeddings and y_jc = 1 / K_j for the K_j concepts of row j's caption.  No gradient of the first
    term reaches V, none of the second anything but V; the first is over all rows with the column, named or not.

    Needs: the column, the column by the teacher, and a label of class ids a vocabulary, (B, K), padded with -1.
    Relations: for one vocabulary and with the caption's concepts in the teacher's place, ``catlip`` with a softmax.
    Source: Radenovic et al. 2023 (DiHT), arXiv:2301.02280, section on concept distillation.  They train V before the
    student, and keep its answers with the data; here V learns beside it, so that a first run is saved and the first
    updates teach little: ``combine.ramps`` lets the objective begin late.
    """

    @config
    class Config:
        """Fields of the objective."""

        column: str = "image"
        classes: dict[str, Count]  # label of class ids -> size of its vocabulary
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.classes:
                raise ValueError("classes: name one or more labels with the sizes of their vocabularies.")

    learner: nn.ModuleList
    teacher: nn.ModuleList

    def attach(self, spaces: Spaces) -> None:
        """Build a classifier for the student and one for the teacher, a vocabulary."""
        width = teacher_width(spaces, "concept_distillation")
        sizes = [count for _, count in sorted(self.config.classes.items())]
        self.learner = nn.ModuleList(nn.Linear(spaces.dim, count) for count in sizes)
        self.teacher = nn.ModuleList(nn.Linear(width, count) for count in sizes)

    def needs(self) -> Needs:
        """The column, seen by both, and the labels."""
        column = (self.config.column,)
        return Needs(embeddings=column, teacher=column, labels=tuple(sorted(self.config.classes)))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the sum over vocabularies, and the share of rows on whose first concept both agree."""
        mine, theirs = emb[self.config.column], emb.teacher(self.config.column)
        present = mine.present.float()
        loss, scalars = torch.zeros((), device=mine.z.device), {}
        for place, name in enumerate(sorted(self.config.classes)):
            log_p, log_q = _log_softmax(self.learner[place], mine.z), _log_softmax(self.teacher[place], theirs.z)
            seen = log_q.detach()
            named, concepts = concepts_of(emb.label(name), self.config.classes[name])
            loss = loss + comm.row_mean(-(seen.exp() * log_p).sum(dim=1), present)
            loss = loss + comm.row_mean(-(concepts * log_q).sum(dim=1), present * named)
            with torch.no_grad():
                agree = log_p.argmax(dim=1) == seen.argmax(dim=1)
                scalars[f"{name}_agreement"] = comm.row_mean(agree.float(), present)
        return Terms(loss=loss, scalars=scalars)


def _log_softmax(layer: nn.Module, z: Tensor) -> Float[Tensor, "B C"]:
    assert isinstance(layer, nn.Linear)
    return linear(z.float(), layer.weight.float(), layer.bias.float()).log_softmax(dim=1)


def concepts_of(ids: Tensor, classes: int) -> tuple[Float[Tensor, " B"], Float[Tensor, "B C"]]:
    """Whether a row has any concept, and its concepts with equal shares: rows sum to 1, or to 0 without one."""
    ids = ids[:, None] if ids.dim() == 1 else ids
    real = (ids >= 0) & (ids < classes)
    found = torch.zeros(len(ids), classes, device=ids.device)
    found = found.scatter_reduce_(1, ids.long().clamp(0, classes - 1), real.float(), reduce="amax")
    count = found.sum(dim=1)
    return (count > 0).float(), found / count.clamp_min(1)[:, None]
