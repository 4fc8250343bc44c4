"""Run a function on several gloo processes and collect what each returns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmcontrast import comm
from tests.ports import free_port


def on_ranks(function: Callable[..., Any], world_size: int, folder: Path, *arguments: Any) -> list[Any]:
    """Call ``function(*arguments)`` on every rank; return the results in rank order."""
    port = free_port()
    mp.spawn(_call, args=(function, world_size, port, str(folder), arguments), nprocs=world_size)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world_size)]


def _call(rank: int, function: Callable[..., Any], world_size: int, port: int, folder: str, arguments: Any) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    torch.save(function(*arguments), Path(folder) / f"{rank}.pt")
    dist.barrier()
    comm.end_process(0)
