"""Muon: momentum whose matrices are made orthogonal, for the blocks of towers; AdamW for all else."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from mmcontrast.config import Count, Fraction, Positive, config
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.groups import Group, Placed, Rates, parameter_groups


@OPTIMIZERS.register("muon")
class Muon:
    """timm's Muon on matrices and kernels of towers' blocks; AdamW on embeddings, heads, gains, biases and scalars.

    A kernel counts as the matrix of its output channels by all else.  Steps are scaled to AdamW's size, so that
    learning rates and weight decays found for AdamW serve both parts.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; scaled as in Liu et al. 2025,
    arXiv:2502.16982, equation 4.
    """

    whole_weights: ClassVar[bool] = True  # a matrix is orthogonalised as one

    @config
    class Config(Rates):
        """Fields of the optimizer."""

        momentum: Fraction = 0.95
        iterations: Count = 5  # Newton-Schulz
        betas: tuple[Fraction, Fraction] = (0.9, 0.98)  # of AdamW
        eps: Positive = 1e-6  # of AdamW

    def __init__(self, config: Any) -> None:
        self.config = config

    def groups(self, model: Placed) -> list[Group]:
        """Sort the model's trainable parameters."""
        return parameter_groups(model, self.config, apart=True)

    def build(self, model: Placed) -> torch.optim.Optimizer:
        """Return timm's optimizer over the model's trainable parameters."""
        from timm.optim import Muon as Peer

        config = self.config
        return Peer(
            [self._options(group) for group in self.groups(model)],
            lr=config.lr,
            momentum=config.momentum,
            ns_steps=config.iterations,
            ns_coefficients="original",
            adjust_lr_fn="match_rms_adamw",
            betas=config.betas,
        )

    def _options(self, group: Group) -> dict[str, Any]:
        if group.in_blocks:
            return {**group.options(), "use_muon": True, "nesterov": True}
        # Without nesterov: with it, timm's AdamW would be NAdamW.
        return {**group.options(), "use_muon": False, "nesterov": False, "eps": self.config.eps}
