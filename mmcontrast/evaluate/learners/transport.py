"""Zero-shot scores corrected so that predicted classes come as often as they are known to."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def transport_plan(
    scores: Float[Tensor, "Q C"],
    prior: Float[Tensor, " C"],
    *,
    logit_scale: float = 100.0,
    sharpness: float = 20.0,
    steps: int = 1000,
    tolerance: float = 1e-9,
) -> Float[Tensor, "Q C"]:
    """Spread rows over classes at the least cost, each row whole and each class as often as ``prior`` says.

    The cost is -log of the zero-shot probability, entropic with weight 1 / ``sharpness``; solved by Sinkhorn's
    alternating scaling in logarithms.  The largest cell of a row is its prediction.

    Args:
        prior: share of each class, adding up to 1; a class of share 0 is never predicted.

    Returns:
        A plan whose rows add up to 1 / Q and whose columns to ``prior``.

    Source: Shin et al. 2024, arXiv:2404.08461, algorithm 1 (OTTER); Cuturi 2013, arXiv:1306.0895, for Sinkhorn.
    """
    kernel = sharpness * (logit_scale * scores.double()).log_softmax(dim=1)
    rows = torch.full((len(scores),), 1 / len(scores), dtype=torch.float64).log()
    columns = (prior.double() / prior.double().sum()).log()
    kernel = kernel.masked_fill(torch.isinf(columns)[None], -torch.inf)
    of_row, of_column = torch.zeros_like(rows), torch.where(torch.isinf(columns), 0.0, columns)
    for _ in range(steps):
        before = of_row
        of_row = rows - torch.logsumexp(kernel + of_column[None], dim=1)
        total = torch.logsumexp(kernel + of_row[:, None], dim=0)
        of_column = torch.where(torch.isinf(columns), 0.0, columns - total)
        if float((of_row - before).abs().max()) < tolerance:
            break
    return (kernel + of_row[:, None] + of_column[None]).exp()


def transport_ranks(
    scores: Float[Tensor, "Q C"],
    right: Int[Tensor, " Q"],
    prior: Float[Tensor, " C"],
    *,
    logit_scale: float = 100.0,
    sharpness: float = 20.0,
) -> Int[Tensor, " Q"]:
    """Rank of every row's right class in its row of the plan, 1 is best; a tie counts against it."""
    plan = transport_plan(scores, prior, logit_scale=logit_scale, sharpness=sharpness)
    return (plan >= plan.gather(1, right[:, None])).sum(dim=1)
