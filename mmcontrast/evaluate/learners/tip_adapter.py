"""Tip-Adapter: a cache of a few labelled rows beside the zero-shot classifier, as it is or with its keys tuned.

Letters: B rows, N cached rows, C classes, D coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

LOGIT_SCALE = 100.0
ALPHA, BETA = 1.0, 5.5  # the paper's, where no row can choose
ALPHAS = (0.0, *(0.25 * 2**power for power in range(11)))  # 0 is zero-shot
BETAS = (0.5, 1.0, 2.0, 4.0, 5.5, 8.0, 16.0)
EPOCHS, BATCH_ROWS, LR, EPSILON = 20, 256, 1e-3, 1e-4  # the paper's


@dataclass(frozen=True)
class TipAdapter:
    """Zero-shot scores plus votes of cached rows.

        scores(z) = s z W^T + alpha exp(-beta (1 - z F^T)) L,

    W the classes' points, F the cached rows' and L their classes, one-hot.

    Source: Zhang et al. 2021, arXiv:2111.03930, section 3.1 (equations of the cache model).
    """

    class_z: Float[Tensor, "C D"]  # W
    keys: Float[Tensor, "N D"]  # F
    values: Float[Tensor, "N C"]  # L
    alpha: float = ALPHA
    beta: float = BETA
    logit_scale: float = LOGIT_SCALE  # s

    def scores(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Scores of every class."""
        votes = (-self.beta * (1 - z @ self.keys.T)).exp() @ self.values
        return self.logit_scale * z @ self.class_z.T + self.alpha * votes


def cached(z: Float[Tensor, "N D"], labels: Int[Tensor, " N"], class_z: Float[Tensor, "C D"]) -> TipAdapter:
    """The training-free adapter of some labelled rows."""
    return TipAdapter(class_z.float(), z.float(), one_hot(labels, len(class_z)).float())


def tuned(start: TipAdapter, z: Float[Tensor, "B D"], labels: Int[Tensor, " B"], *, seed: int = 0) -> TipAdapter:
    """Tip-Adapter-F: the keys learn by AdamW for 20 epochs, with cross-entropy on the rows that they came from.

    The keys start at the cached rows and are not scaled again, as in the paper.
    """
    z, generator = z.float(), torch.Generator().manual_seed(seed)
    keys = start.keys.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([keys], lr=LR, eps=EPSILON)
    batches = -(-len(z) // BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * batches)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(z), generator=generator).split(BATCH_ROWS):
                loss = cross_entropy(replace(start, keys=keys).scores(z[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return replace(start, keys=keys.detach())


def chosen(adapter: TipAdapter, z: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> TipAdapter:
    """The adapter with the alpha and beta that are right about most held-out rows; of equals the least alpha.

    Without rows the paper's stay.
    """
    if not len(z):
        return adapter
    tried = [replace(adapter, alpha=alpha, beta=beta) for alpha in ALPHAS for beta in BETAS]
    right = [float((each.scores(z.float()).argmax(dim=1) == labels).double().mean()) for each in tried]
    return tried[right.index(max(right))]
