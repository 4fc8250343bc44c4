"""LAMB: Adam whose step in each weight is proportional to that weight's norm."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from mmcontrast.config import Fraction, Positive, config
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.groups import Group, Placed, Rates, parameter_groups
from mmcontrast.optim.state import STEP


@OPTIMIZERS.register("lamb")
class Lamb:
    """timm's LAMB, for very large batches.

    Weight decay is part of the step whose norm is compared, and what does not decay is not rescaled, as in the source.
    Gradients are clipped by the engine (``engine.clip_norm``), not here.

    Source: You et al. 2019, arXiv:1904.00962, algorithm 2.
    """

    whole_weights: ClassVar[bool] = True  # norms are of whole weights

    @config
    class Config(Rates):
        """Fields of the optimizer."""

        lr: Positive = 2e-3
        weight_decay: Positive = 0.05  # above 0: what does not decay is not rescaled, and LAMB would be Adam
        betas: tuple[Fraction, Fraction] = (0.9, 0.999)
        eps: Positive = 1e-6
        clip_ratio: bool = False  # let no weight's step be larger than Adam's (LAMBC)

    def __init__(self, config: Any) -> None:
        self.config = config

    def groups(self, model: Placed) -> list[Group]:
        """Sort the model's trainable parameters."""
        return parameter_groups(model, self.config)

    def build(self, model: Placed) -> torch.optim.Optimizer:
        """Return timm's optimizer over the model's trainable parameters."""
        from timm.optim import Lamb as Peer

        config = self.config
        # The count of updates lies in the group: there from the start, so that a state can be put back into it.
        groups = [{**group.options(), STEP: torch.tensor(0.0)} for group in self.groups(model)]
        return Peer(
            groups, lr=config.lr, betas=config.betas, eps=config.eps, max_grad_norm=None, trust_clip=config.clip_ratio
        )
