"""All talk between ranks, and the only reader of the launcher's environment variables.

Every rank calls every function here in the same order.  With one process each is the identity.
The contract of an objective: the mean over ranks of what it returns is the loss of the global batch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Launch:
    """Who this process is, as torchrun or SLURM says."""

    rank: int
    local_rank: int
    world_size: int


def launch() -> Launch:
    """Read torchrun's variables, else SLURM's, else answer with one process."""
    for rank, local_rank, world_size in (
        ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"),
    ):
        if all(name in os.environ for name in (rank, local_rank, world_size)):
            return Launch(int(os.environ[rank]), int(os.environ[local_rank]), int(os.environ[world_size]))
    return Launch(0, 0, 1)


def rank() -> int:
    """This process's number among ``world_size()``."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes of the job."""
    return dist.get_world_size() if dist.is_initialized() else 1


class _GatherRows(torch.autograd.Function):
    """All-gather along rows; backward sums every rank's gradient for the rows that came from here."""

    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        parts = [torch.empty_like(local) for _ in range(world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]


def gather(local: Tensor) -> Tensor:
    """Concatenate every rank's rows, in rank order, with gradient: (B, ...) -> (W * B, ...).

    Every rank must bring the same number of rows.  Backward returns the SUM over ranks of the gradients of this
    rank's rows, which is the gradient of the sum over ranks of their losses; engines average over ranks.
    """
    if world_size() == 1:
        return local
    if local.is_floating_point() and local.requires_grad:
        return _GatherRows.apply(local)
    parts = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)


def all_sum(value: Tensor) -> Tensor:
    """Sum a tensor over ranks, without gradient."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def all_mean(value: Tensor) -> Tensor:
    """Average a tensor over ranks, without gradient."""
    return all_sum(value) / world_size()


def row_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over all ranks' rows, as this rank's share: the mean over ranks of it is the global mean.

    Args:
        values: (B,) one number a row.
        weight: (B,) non-negative; 0 leaves the row out.  With no weight anywhere the result is 0, with gradient.
    """
    total = all_sum(weight.sum()).clamp_min(torch.finfo(values.dtype).tiny)
    return world_size() * (values * weight).sum() / total


def all_true(flag: bool) -> bool:
    """True when every rank says so."""
    if world_size() == 1:
        return flag
    verdict = torch.tensor([1 if flag else 0])
    dist.all_reduce(verdict, op=dist.ReduceOp.MIN)
    return bool(verdict.item())


def barrier() -> None:
    """Wait for every rank."""
    if world_size() > 1:
        dist.barrier()
