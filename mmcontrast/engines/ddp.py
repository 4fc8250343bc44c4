"""Many ranks, each with all weights: torch's DistributedDataParallel."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.config import Positive, config
from mmcontrast.engines import ENGINES
from mmcontrast.engines.replicated import Precision, Replicated
from mmcontrast.model import Model


class _Touch(torch.autograd.Function):
    """Zero, as a function of every parameter that sends back nothing.

    DDP averages a parameter once its gradient is complete.  This makes every parameter part of the last backward of an
    update: one whose gradient came earlier (logit_scale in a cached step) or not at all is then complete as well.
    """

    @staticmethod
    def forward(ctx, *parameters: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.count = len(parameters)
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, ...]:  # type: ignore[no-untyped-def]
        return (None,) * ctx.count


class _Touched(nn.Module):
    """The model as DDP sees it: one forward that touches every trainable parameter."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Tensor:
        """Zero, shape ()."""
        return _Touch.apply(*(parameter for parameter in self.model.parameters() if parameter.requires_grad))


@ENGINES.register("ddp")
class DDP(Replicated):
    """Gradients are averaged in buckets while the last backward of the update still runs.

    DDP's own forward is called once an update, just before that backward; hooks on the parameters do the rest, however
    many forwards and backwards the step took.  Started on one process it is ``local``.
    """

    @config
    class Config:
        """Fields of the engine."""

        device: str = "auto"  # auto: this rank's cuda device when there is one, else cpu
        precision: Precision = "fp32"  # matrix products of the towers; weights, logit_scale and losses stay fp32
        clip_norm: Positive | None = None  # largest gradient norm; null: no clipping
        bucket_mb: Positive = 25.0  # MiB of gradients averaged at a time (torch's default)
        timeout_seconds: Positive = 600.0  # longest that a rank waits for the others in a collective
        meet_seconds: Positive = 120.0  # longest that ranks wait at the start for all to come

    @staticmethod
    def start(config: Any) -> None:
        """Join the other ranks.

        Raises:
            LaunchError: they do not find each other.
        """
        where = comm.device(config.device)
        comm.start(where, timeout_seconds=config.timeout_seconds, meet_seconds=config.meet_seconds)

    def __init__(self, config: Any, *, model: Model, optimizer: Any) -> None:
        super().__init__(config, model=model, optimizer=optimizer)
        with warnings.catch_warnings():
            # Torch 2.14 renames broadcast_buffers and warns of the name that older ones know.
            warnings.simplefilter("ignore", FutureWarning)
            self._ddp = nn.parallel.DistributedDataParallel(
                _Touched(self.model),
                broadcast_buffers=False,  # no buffer is a statistic of rows: none has to be kept equal step by step
                bucket_cap_mb=config.bucket_mb,
                gradient_as_bucket_view=True,
            )

    def backward(self, loss: Tensor, *, last: bool = True) -> None:
        """Accumulate gradients; average them in the last one."""
        loss = loss * self.loss_scale
        if last:
            loss = loss + self._ddp()
        loss.backward()
