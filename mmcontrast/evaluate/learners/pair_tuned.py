"""A few-shot head tuned on pairs first, then fitted: SetFit's two steps on frozen embeddings."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.evaluate.learners.logistic import Linear, fit_logistic

STEPS = 200
PAIRS = 256  # a step


def fit_pair_tuned(
    z: Float[Tensor, "B D"], labels: Int[Tensor, " B"], *, classes: int, inverse_strength: float = 1.0, seed: int = 0
) -> Linear:
    """Learn a linear map under which rows of one class have cosine 1 and of two classes 0; then logistic regression.

    SetFit tunes the whole encoder on such pairs; here the encoder stays frozen and only the map, which starts as the
    identity, is learned.  The map is folded into the returned weights as far as that is linear: rows are scaled to
    length 1 before and not after it.

    Source: Tunstall et al. 2022, arXiv:2209.11055, section 3.
    """
    z = normalize(z.double(), dim=1)
    generator = torch.Generator().manual_seed(seed)
    change = torch.eye(z.shape[1], dtype=torch.float64).requires_grad_(True)
    optimizer = torch.optim.Adam([change], lr=1e-3)
    with torch.enable_grad():
        for _ in range(STEPS):
            first = torch.randint(0, len(z), (PAIRS,), generator=generator)
            second = _partners(labels, first, generator)
            cosine = (normalize(z[first] @ change.T, dim=1) * normalize(z[second] @ change.T, dim=1)).sum(dim=1)
            loss = (cosine - (labels[first] == labels[second]).double()).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    learned = change.detach()
    head = fit_logistic(z @ learned.T, labels, classes=classes, inverse_strength=inverse_strength)
    return Linear(head.weight @ learned, head.bias)


def _partners(labels: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
    """For each row another one: of the same class half of the time, where there is one."""
    rows = len(labels)
    other = torch.randint(0, rows, (len(first),), generator=generator)
    wants_same = torch.rand(len(first), generator=generator) < 0.5
    same = labels[first][:, None] == labels[None]
    draw = torch.rand(len(first), rows, generator=generator).masked_fill(~same, -1)
    return torch.where(wants_same, draw.argmax(dim=1), other)
