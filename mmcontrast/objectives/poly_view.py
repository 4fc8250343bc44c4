"""Poly-view contrast: any number of related views of a row at once."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, log_sum_exp, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("poly_view", "multi_view")
class PolyView(Objective):
    r"""Contrast among M views x_{i,1..M} of each row i, with the other rows' views as negatives.

    With f(x, y) = s sim(x, y) and

        l_{i,a,b} = e^{f(x_ia, x_ib)} / (e^{f(x_ia, x_ib)} + sum_{j != i} sum_c e^{f(x_jc, x_ib)}),

        geometric:    loss_i = -mean_a mean_{b != a} log l_{i,a,b},
        arithmetic:   loss_i = -mean_a log mean_{b != a} l_{i,a,b},
        sufficient:   loss_i = -mean_a log l_{i,a}, as l with x_ib replaced by the mean of the views other than a.

    Needs: the columns.  A row counts where all its views are present; negatives are every other row's present cells.
    Relations: with two views all three are ``simclr``.
    Source: Shidani et al. 2024, arXiv:2403.05490, section 2.3 (arithmetic and geometric PVC) and 2.4 (sufficient
    statistics, taken as the plain mean of unit vectors).
    """

    @config
    class Config:
        """Fields of the objective."""

        columns: tuple[str, ...] = ("image", "image.view2", "text")
        kind: Literal["geometric", "arithmetic", "sufficient"] = "geometric"
        temperature: Temperature = 0.1
        learn_temperature: bool = False
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns):
                raise ValueError("columns must be two or more different columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The views."""
        return pair_needs(self.config.columns, None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with every view."""
        views = [emb[name] for name in self.config.columns]
        scale = self.scale()
        count = len(views)
        z = torch.stack([view.z.float() for view in views], dim=1)  # (B, M, D)

        def others(query: Tensor) -> Tensor:  # (B,) log of the negatives' mass
            keys = [Key(view, "self") for view in views]

            def per_row(tile: Tile) -> Tensor:
                return log_sum_exp(scale * tile.similarity, tile.negative)

            return compare(Embedded(query, views[0].present), keys, per_row)

        if self.config.kind == "sufficient":
            mean = (z.sum(dim=1, keepdim=True) - z) / (count - 1)  # (B, M, D) of the views other than a
            found = scale * (z * mean).sum(dim=2)  # (B, M)
            mass = torch.stack([others(mean[:, place]) for place in range(count)], dim=1)
            loss = (torch.logaddexp(found, mass) - found).mean(dim=1)
        else:
            found = scale * (z @ z.transpose(1, 2))  # (B, a, b)
            mass = torch.stack([others(z[:, place]) for place in range(count)], dim=1)[:, None, :]  # (B, 1, b)
            log_share = found - torch.logaddexp(found, mass.expand_as(found))
            itself = torch.eye(count, dtype=torch.bool, device=z.device)
            if self.config.kind == "geometric":
                loss = -log_share.masked_fill(itself, 0.0).sum(dim=(1, 2)) / (count * (count - 1))
            else:
                summed = log_share.masked_fill(itself, -torch.inf).logsumexp(dim=2)
                loss = -(summed - math.log(count - 1)).mean(dim=1)
        present = torch.stack([view.present for view in views]).all(dim=0)
        return Terms(loss=comm.row_mean(loss, present.float()))
