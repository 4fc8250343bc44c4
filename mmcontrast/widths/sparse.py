"""Sparse codes for embeddings that are there already: the objective ``sparse_codes`` trained on frozen points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.sparse_codes import SparseCodes
from mmcontrast.types import Embedded, Embeddings

STEPS, BATCH_ROWS, LR = 200, 256, 1e-3


def fit_sparse(
    text: Float[Tensor, "N D"], media: Float[Tensor, "N D"], *, active: int, seed: int = 0, steps: int = STEPS
) -> SparseCodes:
    """Learn an autoencoder of 4 D latents, ``active`` of them not zero, on pairs of points.

    The contrast is between the two points of a pair; the pairs' own model gets no gradient.
    """
    objective = SparseCodes(SparseCodes.Config(columns=("text", "media"), active=active))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.attach(Spaces(dim=text.shape[1], widths={}))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(objective.parameters(), lr=LR)
    for _ in range(steps):
        rows = torch.randint(0, len(text), (min(BATCH_ROWS, len(text)),), generator=generator)
        here = torch.ones(len(rows), dtype=torch.bool)
        columns = {"text": Embedded(text[rows], here), "media": Embedded(media[rows], here)}
        emb = Embeddings(columns, {}, [str(row) for row in rows.tolist()])
        optimizer.zero_grad()
        objective(emb).loss.backward()
        optimizer.step()
        objective.after_step(emb)
    return objective.eval().requires_grad_(False)
