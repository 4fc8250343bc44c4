"""Running K-means over embeddings: centres that move a little towards their rows after each update.

Letters: K clusters, N rows of all ranks.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize


class Clusters(nn.Module):
    """Centres in the checkpoint; there are none until :meth:`start`."""

    centers: Float[Tensor, "K D"]
    started: Tensor

    def __init__(self, *, count: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(count, dim))
        self.register_buffer("started", torch.zeros(1, dtype=torch.bool))

    @torch.no_grad()
    def start(self, rows: Float[Tensor, "N D"]) -> None:
        """Take rows as centres: first the one nearest to the mean, then always the one least like the last.

        Args:
            rows: unit vectors, as many as there are clusters or more.
        """
        left = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        last = int((rows @ rows.mean(dim=0)).argmax())
        for place in range(len(self.centers)):
            self.centers[place] = rows[last]
            left[last] = False
            last = int((rows @ rows[last]).masked_fill(~left, torch.inf).argmin())
        self.started.fill_(True)

    @torch.no_grad()
    def follow(self, rows: Float[Tensor, "N D"], *, rate: float) -> None:
        """Move each centre by ``rate`` towards the mean of its rows; one without rows stays."""
        place = self.similarity(rows).argmax(dim=1)
        count = torch.zeros(len(self.centers), 1, device=rows.device).index_add_(
            0, place, torch.ones(len(rows), 1, device=rows.device)
        )
        total = torch.zeros_like(self.centers).index_add_(0, place, rows)
        mean = torch.where(count > 0, total / count.clamp_min(1), self.centers)
        self.centers.lerp_(mean, rate)

    def similarity(self, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Cosines of unit vectors with the centres."""
        return rows.float() @ normalize(self.centers, dim=1).T

    @torch.no_grad()
    def two_nearest(self, rows: Float[Tensor, "B D"]) -> Int[Tensor, "B 2"]:
        """Each row's cluster, and the next one."""
        return self.similarity(rows).topk(2, dim=1).indices
