"""CLIP4Cir's combiner: a reference and a text of change become one query.

Letters: B triplets of a batch, D coordinates, P projected ones, H hidden ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Composer, Said
from mmcontrast.downstream.descent import descend
from mmcontrast.downstream.triplets import Triplets

LOGIT_SCALE = 100.0  # the paper's


@DOWNSTREAM.register("combiner")
class Combiner(Composer):
    """A learned mixture of reference, text and their joint features, in the place of their sum.

        q = o(relu(c([t', r']))) + s t + (1 - s) r,    t' = relu(W_t t), r' = relu(W_r r), s = sigmoid(g([t', r'])),

    scaled to length 1, with dropout after each hidden layer; trained with the cross-entropy of 100 q against the
    batch's targets, rows with the same target never against each other.

    Source: Baldrati et al. 2022, CVPR (Effective Conditioned and Composed Image Retrieval Combining CLIP-Based
    Features), figure 2; arXiv:2308.11485 holds the longer version.  Widths here are 1 and 2 times D, theirs 4 and 8.
    """

    @config
    class Config:
        """Fields of the head."""

        source: str  # rows of the modality: embeddings, or anything that embed reads
        triplets: Path | None = None  # JSON lines of reference, text, target; null: those of the source's reader
        keep: str | None = None  # draw triplets: the target has the reference's value of this field, and another text
        modality: Literal["image", "audio"] = "image"  # of references and targets
        projection: Positive = 1.0  # P / D
        hidden: Positive = 2.0  # H / D
        dropout: NonNegative = 0.5  # the paper's
        steps: Count = 400
        batch_rows: Count = 256
        lr: Positive = 1e-3
        seed: int = 0  # of drawn triplets, batches, dropout and weights

        def __post_init__(self) -> None:
            if self.triplets is not None and self.keep is not None:
                raise ValueError("give triplets or keep, not both.")

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__(config, about=about)
        dim, drop = about.dim, config.dropout
        projected, hidden = max(1, round(config.projection * dim)), max(1, round(config.hidden * dim))
        self.text = nn.Sequential(nn.Linear(dim, projected), nn.ReLU(), nn.Dropout(drop))
        self.reference = nn.Sequential(nn.Linear(dim, projected), nn.ReLU(), nn.Dropout(drop))
        self.joint = nn.Sequential(
            nn.Linear(2 * projected, hidden), nn.ReLU(), nn.Dropout(drop), nn.Linear(hidden, dim)
        )
        self.share = nn.Sequential(
            nn.Linear(2 * projected, hidden), nn.ReLU(), nn.Dropout(drop), nn.Linear(hidden, 1), nn.Sigmoid()
        )

    def composed(self, reference: Float[Tensor, "B D"], said: Said) -> Float[Tensor, "B D"]:
        """Queries, to be compared with targets."""
        return self.mixed(reference, said.points)

    def mixed(self, reference: Float[Tensor, "B D"], text: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Points of references and texts as one."""
        both = torch.cat([self.text(text), self.reference(reference)], dim=-1)  # (B, 2P)
        share = self.share(both)
        return normalize(self.joint(both) + share * text + (1 - share) * reference, dim=-1)

    def fit(self, z: Float[Tensor, "N D"], said: Said, triplets: Triplets) -> None:
        """Train on triplets."""
        references, targets = torch.tensor(triplets.references), torch.tensor(triplets.targets)

        def loss() -> Tensor:
            batch = torch.randperm(len(triplets))[: self.config.batch_rows]
            query = self.mixed(z[references[batch]], said.points[batch])
            return contrast(query, z[targets[batch]], targets[batch], scale=LOGIT_SCALE)

        descend(self.parameters(), loss, steps=self.config.steps, lr=self.config.lr)


def contrast(
    queries: Float[Tensor, "B D"], targets: Float[Tensor, "B D"], ids: Int[Tensor, " B"], *, scale: float | Tensor
) -> Float[Tensor, ""]:
    """Cross-entropy of each query over the batch's targets; others with its own target's id are left out."""
    logits = scale * queries @ targets.T
    same = (ids[:, None] == ids[None]) & ~torch.eye(len(ids), dtype=torch.bool)
    return cross_entropy(logits.masked_fill(same, -torch.inf), torch.arange(len(ids)))
