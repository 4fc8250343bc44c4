"""Votes of the nearest neighbours.

Letters: Q queries, B rows with known classes, C classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

TEMPERATURE = 0.07


def neighbour_votes(
    queries: Float[Tensor, "Q D"],
    z: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    *,
    classes: int,
    k: int,
    block_rows: int = 1024,
) -> Float[Tensor, "Q C"]:
    """Each of the k rows of highest cosine votes with exp(cosine / 0.07); with k = 1 this is the nearest neighbour.

    Of rows with equal cosines at the border the earlier ones vote, so that the result is one.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4; the temperature is theirs.
    """
    known, votes = normalize(z.float(), dim=1), []
    k = min(k, len(known))
    for start in range(0, len(queries), block_rows):
        cosine = normalize(queries[start : start + block_rows].float(), dim=1) @ known.T
        best, places = cosine.sort(dim=1, descending=True, stable=True)
        weight = (best[:, :k].double() / TEMPERATURE).exp()
        table = torch.zeros(len(cosine), classes, dtype=torch.float64)
        votes.append(table.scatter_add(1, labels[places[:, :k]], weight))
    return torch.cat(votes)
