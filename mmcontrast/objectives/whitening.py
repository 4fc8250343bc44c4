"""Contrast after shuffled group whitening: dimensions decorrelated over the batch, in groups drawn anew each step."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.config import Count, Positive, config
from mmcontrast.errors import ConfigError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.draws import Draws
from mmcontrast.objectives.pairwise import (
    Key,
    ScaledPairConfig,
    Tile,
    compare,
    cross_entropy_row,
    pair_needs,
)
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("whitening", "whitened_cse", "shuffled_group_whitening")
class Whitening(Objective):
    r"""Symmetric InfoNCE on whitened embeddings, averaged over several draws of the groups.

    Dimensions are permuted and cut into groups of equal size; each group of each column is centred and multiplied by
    (C + epsilon I)^(-1/2), C its covariance over the present cells of the global batch; the permutation is undone
    and rows are scaled to length 1.  The same row under several draws gives several positives.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: evaluation sees the embeddings before whitening.
    Source: Zhuo et al. 2023, arXiv:2305.17746, section 3 (WhitenedCSE).  There a dense layer follows the whitening.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        groups: Count = 8  # parts that the embedding is cut into; must divide model.dim
        draws: Count = 2  # permutations averaged over
        epsilon: Positive = 1e-3  # added to every variance; unit vectors have variances of about 1 / D

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)
        self.random = Draws()

    def attach(self, spaces: Spaces) -> None:
        """Check that the groups divide the embedding."""
        if spaces.dim % self.config.groups:
            raise ConfigError(f"whitening: groups = {self.config.groups} do not divide model.dim = {spaces.dim}.")

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows, directions and draws."""
        a, b = (emb[name] for name in self.config.pair)
        both = (a.present & b.present).float()
        group = emb.label(self.config.group) if self.config.group else None
        scale = self.scale()
        generator = self.random.generator()

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, scale * tile.similarity)

        rows = torch.zeros_like(both)
        for _ in range(self.config.draws):
            white = []
            for column in (a, b):
                order = torch.randperm(column.z.shape[1], generator=generator).to(column.z.device)
                white.append(self._whitened(column, order))
            for query, key in (white, white[::-1]):
                rows = rows + compare(query, [Key(key, "positive")], per_row, group=group) / 2
        loss = comm.row_mean(rows / self.config.draws, both)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})

    def after_step(self, emb: Embeddings) -> None:
        """Draw other groups for the next update."""
        self.random.advance()

    def _whitened(self, column: Embedded, order: Tensor) -> Embedded:
        z = column.z.float()
        everyone = comm.gather(z)[comm.gather(column.present)][:, order]  # (N, D)
        parts = everyone.view(len(everyone), self.config.groups, z.shape[1] // self.config.groups)
        mean = parts.sum(dim=0) / max(len(parts), 1)  # (groups, width)
        centred = parts - mean
        covariance = torch.einsum("ngi,ngj->gij", centred, centred) / max(len(parts), 1)
        eye = torch.eye(covariance.shape[1], device=z.device)
        white = InverseRoot.apply(covariance + self.config.epsilon * eye)
        mine = z[:, order].view(len(z), *mean.shape) - mean
        mine = torch.einsum("ngi,gij->ngj", mine, white).flatten(1)[:, order.argsort()]
        return Embedded(normalize(mine, dim=1) * column.present[:, None], column.present)


class InverseRoot(torch.autograd.Function):
    """``C^(-1/2)`` of symmetric positive matrices, with a gradient that equal eigenvalues do not break.

    The derivative is taken through divided differences of x^(-1/2), which have no singularity:
    (f(x) - f(y)) / (x - y) = -1 / (sqrt(xy) (sqrt x + sqrt y)).
    """

    @staticmethod
    def forward(ctx: Any, matrix: Float[Tensor, "K D D"]) -> Float[Tensor, "K D D"]:
        """Return the inverse square roots."""
        if matrix.isfinite().all():
            values, vectors = torch.linalg.eigh(matrix)
        else:  # for the guard, which names the rows; the solver would end the run
            values, vectors = torch.full_like(matrix[..., 0], torch.nan), torch.full_like(matrix, torch.nan)
        roots = values.clamp_min(torch.finfo(values.dtype).tiny).sqrt()
        ctx.save_for_backward(roots, vectors)
        return (vectors / roots[:, None, :]) @ vectors.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "K D D"]) -> Float[Tensor, "K D D"]:  # type: ignore[override]
        """Return the gradient with respect to the matrices."""
        roots, vectors = ctx.saved_tensors
        products = roots[:, :, None] * roots[:, None, :]
        differences = -1 / (products * (roots[:, :, None] + roots[:, None, :]))
        inner = vectors.transpose(1, 2) @ ((grad + grad.transpose(1, 2)) / 2) @ vectors
        return vectors @ (inner * differences) @ vectors.transpose(1, 2)
