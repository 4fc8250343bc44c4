"""What to do with batch norm, which lets the rows of a batch touch each other.

Letters: C channels.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import batch_norm, group_norm

BatchNormPolicy = Literal["group", "frozen"]


def replace_batch_norm(module: nn.Module, policy: BatchNormPolicy) -> None:
    """Replace every batch norm below ``module``.

    A tower runs on the present rows of a batch alone, in chunks, on several ranks: statistics over rows would differ
    with each of these.  ``group`` trains in its place a group norm of 32 groups or fewer; ``frozen`` keeps the stored
    statistics and trains the gain and bias, for pretrained weights.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            module.add_module(name, GroupNorm(child) if policy == "group" else FrozenNorm(child))
        else:
            replace_batch_norm(child, policy)


class _Replacement(nn.Module):
    """Takes over a batch norm's gain and bias, and the drop and activation that timm folds into it."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        folded = dict(norm.named_children())
        self.after = nn.Sequential(*(folded[name] for name in ("drop", "act") if name in folded))


class GroupNorm(_Replacement):
    """Divides by the statistics of each row's own channel groups."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm)
        self.groups = math.gcd(32, norm.num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        return self.after(group_norm(x, self.groups, self.weight, self.bias, self.eps))


class FrozenNorm(_Replacement):
    """Divides by the stored statistics, in training too; the key layout is batch norm's."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm)
        for name, buffer in norm.named_buffers(recurse=False):
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        x = batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)
        return self.after(x)
