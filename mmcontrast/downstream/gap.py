"""The modality gap, closed on the side of the texts: what moves a text's point to where its picture's would be.

Letters: N pairs, D coordinates.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcontrast.errors import HeadError

Closing = Literal["none", "mean", "linear", "covariance"]
MIN_PAIRS = 16


class GapAdapter(nn.Module):
    """An affine map of unit vectors and the noise that is added in training, both followed by scaling to length 1.

        adapted = normalize(z M + s),    noised = normalize(adapted + e),

    with M = I and s = 0 for ``none``; M = I and s the mean of target - text for ``mean``; M and s the least squares
    solution of text M + s = target for ``linear``; and M = I, s = 0 for ``covariance``, whose noise e has the mean and
    covariance of target - text.  The noise of the others is ``scale`` times a standard normal vector.

    Source: Gu et al. 2022, arXiv:2211.09778, sections 3.1 (noise) and on adapters learned from pairs.
    """

    matrix: Tensor
    shift: Tensor
    offset: Tensor
    root: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(dim))
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("offset", torch.zeros(dim))  # mean of the noise
        self.register_buffer("root", torch.eye(dim))  # noise = standard normal @ root

    @torch.no_grad()
    def fit(
        self, closing: Closing, *, scale: float, text: Float[Tensor, "N D"] | None, target: Float[Tensor, "N D"] | None
    ) -> None:
        """Set map and noise.

        Args:
            closing: how the gap is closed.
            scale: of the noise; of no account for ``covariance``.
            text: points of texts in pairs, needed unless ``none``.
            target: points of the other modality, row by row.

        Raises:
            HeadError: too few pairs.
        """
        self.root.mul_(scale)
        if closing == "none":
            return
        assert text is not None and target is not None, "a gap is measured on pairs"
        if len(text) < MIN_PAIRS:
            raise HeadError(f"the gap is to be measured on {len(text)} pairs; {MIN_PAIRS} are the least.")
        text, target = text.double(), target.double()
        if closing == "mean":
            self.shift.copy_((target - text).mean(dim=0))
        elif closing == "linear":
            ones = torch.ones(len(text), 1, dtype=torch.float64)
            solved = torch.linalg.lstsq(torch.cat([text, ones], dim=1), target, driver="gelsd").solution
            self.matrix.copy_(solved[:-1])
            self.shift.copy_(solved[-1])
        else:
            difference = target - text
            self.offset.copy_(difference.mean(dim=0))
            values, vectors = torch.linalg.eigh(difference.T.cov())
            # Symmetric square root: unlike Cholesky's it exists where there are fewer pairs than coordinates.
            self.root.copy_(vectors @ values.clamp_min(0).sqrt().diag() @ vectors.T)

    def forward(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Adapt points of texts."""
        return normalize(z @ self.matrix + self.shift, dim=-1)

    def noised(self, z: Float[Tensor, "B D"], generator: torch.Generator) -> Float[Tensor, "B D"]:
        """Add the training's noise to adapted points."""
        drawn = torch.randn(z.shape, generator=generator)
        return normalize(z + self.offset + drawn @ self.root, dim=-1)
