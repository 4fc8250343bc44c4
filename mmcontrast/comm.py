"""All talk between ranks.

Every rank calls every function here in the same order.  With one process each is the identity.
The contract of an objective: the mean over ranks of what it returns is the loss of the global batch.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mmcontrast.errors import LaunchError, MMContrastError
from mmcontrast.rendezvous import launch, meet

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def device(name: str) -> torch.device:
    """Turn a config's ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into this rank's device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", launch().local_rank) if name == "cuda" else torch.device(name)


def start(where: torch.device, *, timeout_seconds: float, meet_seconds: float = 120.0) -> None:
    """Join the other ranks; do nothing when joined already.

    Args:
        where: this rank's device; on cuda, tensors there travel by NCCL and those on the CPU by gloo.
        timeout_seconds: longest wait for the other ranks in every later collective.
        meet_seconds: longest wait for all ranks to come.

    Raises:
        LaunchError: ranks are missing, on every rank that came and with their numbers; or the port is in use.
    """
    if dist.is_initialized():
        return
    who = launch()
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
    if where.type == "cuda":
        torch.cuda.set_device(where)
    limit = timedelta(seconds=timeout_seconds)
    if who.world_size == 1:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=limit)
        return
    store = meet(who, seconds=meet_seconds)
    try:
        dist.init_process_group(backend, store=store, rank=who.rank, world_size=who.world_size, timeout=limit)
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise LaunchError(
            f"rank {who.rank} of {who.world_size} does not reach the others within {timeout_seconds:g} s: "
            f"{str(error).splitlines()[0]}. Do firewalls let ranks talk at every port?"
        ) from error


def stop() -> None:
    """Leave the group of ranks, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def end_process(code: int) -> None:
    """End a process that joined other ranks, without the interpreter's own end; return if it did not join any.

    Gloo's threads drop the tensors of a collective a moment after it returned, and need the interpreter for it: one
    that does so while the interpreter ends aborts the process.  They cannot be waited for, since
    DistributedDataParallel never frees its group (torch 2.14).
    """
    if not dist.is_initialized() and launch().world_size == 1:
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rank() -> int:
    """This process's number among ``world_size()``."""
    return dist.get_rank() if dist.is_initialized() and not _ALONE.get() else 0


def world_size() -> int:
    """Number of processes of the job."""
    return dist.get_world_size() if dist.is_initialized() and not _ALONE.get() else 1


@contextmanager
def alone() -> Iterator[None]:
    """Let a block compute as if this rank were the only one, with no collective: the reference of many ranks."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


@contextmanager
def together(other: type[MMContrastError] | None = None) -> Iterator[None]:
    """Run a block that may fail on some ranks only: if a user's mistake shows on one, every rank raises it.

    Without this the other ranks would wait, until their timeout, for one that has left.

    Args:
        other: on several ranks, errors of any other kind but a lost connection become one of this class.
    """
    mistake: MMContrastError | None = None
    try:
        yield
    except MMContrastError as error:
        mistake = error
    except Exception as error:
        if other is None or world_size() == 1 or is_lost_connection(error):
            raise
        mistake = other(f"{type(error).__name__}: {error}")
        mistake.__cause__ = error
    if world_size() == 1:
        if mistake is not None:
            raise mistake
        return
    found: list[str | None] = [None] * world_size()
    dist.all_gather_object(found, None if mistake is None else str(mistake))
    # Ranks that say the same speak once.
    messages = dict.fromkeys(message for message in found if message is not None)
    if messages:
        kind = MMContrastError if mistake is None else type(mistake)
        shared = kind("\n".join(f"{_ranks(found, message)}{message}" for message in messages))
        shared.on_every_rank = True
        raise shared from mistake


def _ranks(found: list[str | None], message: str) -> str:
    ranks = [str(rank) for rank, each in enumerate(found) if each == message]
    return "" if len(ranks) == len(found) else f"rank {', '.join(ranks)}: "


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


class Passing:
    """Tensors on their way round the ring of ranks."""

    def __init__(self, requests: list[dist.Work], sent: list[Tensor], arriving: list[Tensor]) -> None:
        self._requests, self._arriving = requests, arriving
        self._sent = sent  # must live until they are sent

    def wait(self) -> list[Tensor]:
        """Return what the rank before this one sent."""
        for request in self._requests:
            request.wait()
        return self._arriving


def pass_on(tensors: list[Tensor]) -> Passing:
    """Send tensors to the next rank and begin to receive as many of the same shapes from the one before; no gradient.

    The tensors must not change until :meth:`Passing.wait` returns.  Needs two ranks or more.
    """
    following, previous = (rank() + 1) % world_size(), (rank() - 1) % world_size()
    sent = [tensor.contiguous() for tensor in tensors]
    arriving = [torch.empty_like(tensor) for tensor in sent]
    operations = []
    for outgoing, incoming in zip(sent, arriving, strict=True):
        operations.append(dist.P2POp(dist.isend, outgoing, following))
        operations.append(dist.P2POp(dist.irecv, incoming, previous))
    return Passing(dist.batch_isend_irecv(operations), sent, arriving)


def all_true(flag: bool) -> bool:
    """True when every rank says so."""
    if world_size() == 1:
        return flag
    verdict = torch.tensor([1 if flag else 0])
    dist.all_reduce(verdict, op=dist.ReduceOp.MIN)
    return bool(verdict.item())


def gather_objects(value: Any) -> list[Any]:
    """Every rank's value, in rank order, on every rank; values may differ in size."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


def is_lost_connection(error: BaseException) -> bool:
    """Whether a collective failed because ranks could not be reached; gloo raises a plain RuntimeError then."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def any_true(*flags: bool) -> list[bool]:
    """For each flag, whether any rank says so; one collective for all of them."""
    if world_size() == 1:
        return list(flags)
    verdict = torch.tensor([1 if flag else 0 for flag in flags])
    dist.all_reduce(verdict, op=dist.ReduceOp.MAX)
    return [bool(value) for value in verdict.tolist()]


def gather_bytes(content: bytes) -> list[bytes]:
    """Every rank's bytes, in rank order, on every rank."""
    if world_size() == 1:
        return [content]
    size = torch.tensor([len(content)])
    sizes = [torch.zeros_like(size) for _ in range(world_size())]
    dist.all_gather(sizes, size)
    longest = max(int(each) for each in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else padded[:0]
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return [part[: int(each)].numpy().tobytes() for part, each in zip(parts, sizes, strict=True)]


def barrier() -> None:
    """Wait for every rank."""
    if world_size() > 1:
        dist.barrier()


def from_first(value: Any) -> Any:
    """Rank 0's value, on every rank: plain data made by this program, never anything read from outside."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
