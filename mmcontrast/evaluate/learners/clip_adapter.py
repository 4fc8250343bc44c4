"""CLIP-Adapter: a bottleneck whose output is blended with the embedding before the zero-shot classifier.

Letters: B rows, C classes, D coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

LOGIT_SCALE = 100.0
REDUCTION = 4  # of the bottleneck, the paper's
RATIO = 0.2  # of the adapter's output, where no row can choose
RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8)  # 0 is zero-shot
STEPS, BATCH_ROWS, LR = 200, 256, 1e-3


@dataclass(frozen=True)
class ClipAdapter:
    """Zero-shot scores of embeddings that were moved.

        f' = alpha relu(relu(f W1) W2) + (1 - alpha) f,    scores = s f' / |f'| W^T,

    W the classes' points.  The classes' side has no adapter of its own, which the paper finds best.

    Source: Gao et al. 2021, arXiv:2110.04544, section 3.2.
    """

    class_z: Float[Tensor, "C D"]  # W
    down: Float[Tensor, "D H"]  # W1
    up: Float[Tensor, "H D"]  # W2
    ratio: float = RATIO  # alpha
    logit_scale: float = LOGIT_SCALE  # s

    def scores(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Scores of every class."""
        z = z.float()
        moved = ((z @ self.down).relu() @ self.up).relu()
        blended = normalize(self.ratio * moved + (1 - self.ratio) * z, dim=-1)
        return self.logit_scale * blended @ self.class_z.T


def fit_clip_adapter(
    z: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    class_z: Float[Tensor, "C D"],
    *,
    ratio: float = RATIO,
    seed: int = 0,
) -> ClipAdapter:
    """Learn the bottleneck from a few rows, by Adam with cross-entropy; the classes stay at their prompts.

    Their learning rate (1e-5) suits 1,024 coordinates and some thousand steps; here 200 steps at 1e-3.
    """
    dim = z.shape[1]
    hidden = max(1, dim // REDUCTION)
    generator = torch.Generator().manual_seed(seed)
    down, up = (
        ((torch.rand(size, generator=generator) * 2 - 1) / size[0] ** 0.5).requires_grad_(True)
        for size in ((dim, hidden), (hidden, dim))
    )
    adapter = ClipAdapter(class_z.float(), down, up, ratio)
    optimizer = torch.optim.Adam([down, up], lr=LR)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.randperm(len(z), generator=generator)[:BATCH_ROWS]
            loss = cross_entropy(adapter.scores(z[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return replace(adapter, down=down.detach(), up=up.detach())


def best_clip_adapter(
    z: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    class_z: Float[Tensor, "C D"],
    held_z: Float[Tensor, "H D"],
    held_labels: Int[Tensor, " H"],
    *,
    seed: int = 0,
) -> ClipAdapter:
    """Learn one adapter for each ratio and keep the one that is right about most held-out rows; of equals the least.

    Without rows to choose by, the ratio is the paper's 0.2.
    """
    if not len(held_z):
        return fit_clip_adapter(z, labels, class_z, seed=seed)
    tried = [fit_clip_adapter(z, labels, class_z, ratio=ratio, seed=seed) for ratio in RATIOS]
    right = [float((each.scores(held_z).argmax(dim=1) == held_labels).double().mean()) for each in tried]
    return tried[right.index(max(right))]
