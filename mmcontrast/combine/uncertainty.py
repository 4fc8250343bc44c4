"""Weights learned as the uncertainty of each objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.combine import COMBINERS
from mmcontrast.combine.base import Combiner
from mmcontrast.config import config


@COMBINERS.register("uncertainty")
class Uncertainty(Combiner):
    r"""sum_k exp(-s_k) L_k + s_k / 2, with a learned log variance s_k for each objective, from 0.

    An objective that stays large is trusted less.  Losses below zero have no such reading.

    Source: Kendall et al. 2018, arXiv:1705.07115 (for cross entropies), with s = log sigma^2.
    """

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any, *, names: Sequence[str]) -> None:
        super().__init__(config, names=names)
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(1)) for name in names})

    def factors(self, losses: dict[str, Tensor], shared: list[Tensor]) -> dict[str, Tensor]:
        """Precisions."""
        return {name: torch.exp(-self.log_variances[name].float()).squeeze(0) for name in losses}

    def penalty(self) -> Tensor:
        """Half of the log variances, which keeps the factors from vanishing."""
        return torch.stack([each.float().squeeze(0) for each in self.log_variances.values()]).sum() / 2
