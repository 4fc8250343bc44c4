"""AdamW, fused, with weight decay on matrices alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from mmcontrast.config import Fraction, Positive, config
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.groups import Group, Placed, Rates, parameter_groups


@OPTIMIZERS.register("adamw")
class AdamW:
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter 2017, arXiv:1711.05101; the defaults are open_clip's for ViT.
    """

    whole_weights: ClassVar[bool] = False  # it looks at each number alone, so that ZeRO may cut weights anywhere

    @config
    class Config(Rates):
        """Fields of the optimizer."""

        betas: tuple[Fraction, Fraction] = (0.9, 0.98)
        eps: Positive = 1e-6

    def __init__(self, config: Any) -> None:
        self.config = config

    def groups(self, model: Placed) -> list[Group]:
        """Sort the model's trainable parameters."""
        return parameter_groups(model, self.config)

    def build(self, model: Placed) -> torch.optim.Optimizer:
        """Return the torch optimizer over the model's trainable parameters."""
        groups = [group.options() for group in self.groups(model)]
        return torch.optim.AdamW(groups, lr=self.config.lr, betas=self.config.betas, eps=self.config.eps, fused=True)
