"""A regulariser of rank: the spectral entropy of the embeddings' correlation matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.objectives.pairwise import gathered_rows
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("von_neumann_entropy", "vne", "rank_regulariser")
class VonNeumannEntropy(Objective):
    r"""Spreads embeddings over many directions.

        loss = mean over columns of sum_k l_k log l_k,   l = eigenvalues of 1/N sum_i z_i z_i^T,

    over the present cells of the global batch; the exponential of minus the loss is the effective rank.  A term to
    add to a contrast, with a small weight.

    Needs: the columns.
    Relations: with orthonormal rows it is -log N, with equal rows 0.
    Source: Kim et al. 2023, arXiv:2304.01434; effective rank: Roy and Vetterli 2007.
    """

    @config
    class Config:
        """Fields of the objective."""

        columns: tuple[str, ...] = ("image", "text")
        weight: NonNegative = 0.1  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.columns or len(set(self.columns)) < len(self.columns):
                raise ValueError("columns must be one or more different columns.")

    def needs(self) -> Needs:
        """The columns."""
        return Needs(embeddings=tuple(sorted(self.config.columns)))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over columns, and each column's effective rank."""
        losses, scalars = [], {}
        for name in self.config.columns:
            (z,) = gathered_rows(emb, [name])
            entropy = spectral_entropy(z)
            losses.append(-entropy)
            scalars[f"{name}.effective_rank"] = entropy.detach().exp()
        return Terms(loss=torch.stack(losses).mean(), scalars=scalars)


def spectral_entropy(z: Tensor) -> Tensor:
    """Entropy of the eigenvalues of the rows' second moment, in nats; 0 for no rows.

    Args:
        z: (N, D); rows are scaled to length 1.
    """
    if len(z) == 0:
        return z.sum()
    z = normalize(z, dim=1)
    # The smaller of the two Gram matrices: they share their non-zero eigenvalues.
    moment = z.T @ z if len(z) >= z.shape[1] else z @ z.T
    if not moment.isfinite().all():
        return moment.sum()  # for the guard, which names the rows; the solver would end the run
    values = torch.linalg.eigvalsh(moment / len(z)).clamp_min(1e-10)  # (min(N, D),)
    return -(values * values.log()).sum()
