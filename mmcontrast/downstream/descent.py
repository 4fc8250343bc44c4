"""How heads learn: AdamW, its rate falling to nothing along half a cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

WEIGHT_DECAY = 0.01


def descend(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float = WEIGHT_DECAY,
) -> None:
    """Take ``steps`` steps.

    Args:
        loss: of a batch that it draws anew at each call.
        lr: learning rate of the first step.
    """
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        found = loss()
        optimizer.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
