"""AdamW, fused, with weight decay on matrices alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mmcontrast.config import Fraction, NonNegative, Positive, config
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.groups import decay_groups


@OPTIMIZERS.register("adamw")
class AdamW:
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter 2017, arXiv:1711.05101; the defaults are open_clip's for ViT.
    """

    @config
    class Config:
        """Fields of the optimizer."""

        lr: Positive = 5e-4
        betas: tuple[Fraction, Fraction] = (0.9, 0.98)
        eps: Positive = 1e-6
        weight_decay: NonNegative = 0.2

    def __init__(self, config: Any) -> None:
        self.config = config

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the torch optimizer over the model's trainable parameters."""
        groups = decay_groups(model, weight_decay=self.config.weight_decay)
        return torch.optim.AdamW(groups, lr=self.config.lr, betas=self.config.betas, eps=self.config.eps, fused=True)
