"""CLIP4Cir's combiner: a reference and a text of change become one query.

Letters: B triplets of a batch, D coordinates, P projected ones, H hidden ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Composer, Judged
from mmcontrast.downstream.descent import descend
from mmcontrast.downstream.towers import Towers
from mmcontrast.downstream.triplets import Triplets, triplets_of
from mmcontrast.errors import HeadError

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

    def composed(self, reference: Float[Tensor, "B D"], text: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Queries, to be compared with targets."""
        both = torch.cat([self.text(text), self.reference(reference)], dim=-1)  # (B, 2P)
        share = self.share(both)
        return normalize(self.joint(both) + share * text + (1 - share) * reference, dim=-1)

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Train on triplets.

        Raises:
            HeadError: there are none, or all have one target.
        """
        rows = towers.rows(config.source, (config.modality,)).having(config.modality)
        triplets = triplets_of(rows, file=config.triplets, keep=config.keep, seed=config.seed)
        if len(set(triplets.targets)) < 2:
            raise HeadError(f"all {len(triplets)} triplets have one target: there is nothing to tell apart.")
        about = About.of(towers, rows.facts, modality=config.modality)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = cls(config, about=about)
            head._train(rows.z[config.modality], towers.texts(triplets.texts), triplets)
        return head.eval().requires_grad_(False)

    def _train(self, z: Tensor, texts: Tensor, triplets: Triplets) -> None:
        references, targets = torch.tensor(triplets.references), torch.tensor(triplets.targets)

        def loss() -> Tensor:
            batch = torch.randperm(len(triplets))[: self.config.batch_rows]
            query = self.composed(z[references[batch]], texts[batch])
            return contrast(query, z[targets[batch]], targets[batch])

        descend(self.parameters(), loss, steps=self.config.steps, lr=self.config.lr)

    def judge(self, towers: Towers, judged: Judged) -> dict[str, float]:
        """Recall of the target, of queries by the combiner, by the sum, and by one part alone."""
        modality = self.config.modality
        self.check_towers(towers.digests, modality, "text", where=towers.location)
        rows = towers.rows(judged.source, (modality,)).where(judged.where).having(modality)
        keep = judged.keep or (None if judged.triplets is not None else self.config.keep)
        triplets = triplets_of(rows, file=judged.triplets, keep=keep, seed=0)
        z, texts = rows.z[modality], towers.texts(triplets.texts)
        references = z[torch.tensor(triplets.references)]
        queries = {
            "combiner": self.composed(references, texts),
            "sum": normalize(references + texts, dim=1),
            "reference": references,
            "text": texts,
        }
        found: dict[str, float] = {}
        for k in (1, 5, 10):
            found |= {f"{name} R@{k}": recall(query @ z.T, triplets, k=k) for name, query in queries.items()}
        return found | {"rows": len(triplets)}


def contrast(
    queries: Float[Tensor, "B D"], targets: Float[Tensor, "B D"], ids: Int[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Cross-entropy of each query over the batch's targets; others with its own target's id are left out."""
    logits = LOGIT_SCALE * queries @ targets.T
    same = (ids[:, None] == ids[None]) & ~torch.eye(len(ids), dtype=torch.bool)
    return cross_entropy(logits.masked_fill(same, -torch.inf), torch.arange(len(ids)))


def recall(scores: Float[Tensor, "T N"], triplets: Triplets, *, k: int) -> float:
    """Share of triplets whose target is among the k best rows; a tie counts against it."""
    scores, targets = scores.clone(), torch.tensor(triplets.targets)
    for number, excluded in enumerate(triplets.excluded):
        for row in excluded:
            if row != triplets.targets[number]:
                scores[number, row] = -torch.inf
    own = scores.gather(1, targets[:, None])
    return float(((scores >= own).sum(dim=1) <= k).double().mean())
