"""How ranks find each other at the start of a run, and which of them did not come.

Here and in comm.py alone are the launcher's environment variables read.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from mmcontrast.errors import LaunchError

GRACE_SECONDS = 5.0  # that an answer may be late
MOST_NAMED = 8  # ranks in a message


@dataclass(frozen=True)
class Launch:
    """Who this process is, as torchrun or SLURM says."""

    rank: int
    local_rank: int
    world_size: int


def launch() -> Launch:
    """Read torchrun's variables, else those of a SLURM job step (srun), else answer with one process.

    Raises:
        LaunchError: they are no numbers, or the rank is not below the world size.
    """
    environment = os.environ
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    # A batch script sees SLURM_PROCID as well; only srun, which starts one process a task, sets SLURM_STEP_ID.
    if not all(name in environment for name in names) and "SLURM_STEP_ID" in environment:
        names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
    if not all(name in environment for name in names):
        return Launch(0, 0, 1)
    found = ", ".join(f"{name}={environment[name]}" for name in names)
    if not all(environment[name].isdecimal() for name in names):
        raise LaunchError(f"the launcher's variables should be whole numbers, but are {found}.")
    who = Launch(*(int(environment[name]) for name in names))
    if who.rank >= who.world_size:
        raise LaunchError(f"the launcher gave a rank that is not below the world size: {found}.")
    return who


def meet(who: Launch, *, seconds: float) -> dist.Store:
    """Wait until every rank has come; return the table of names that they share.

    Raises:
        LaunchError: ranks are missing, on every rank that came and with their numbers; or the port is in use.
    """
    host, port = _meeting_point()
    missed = (
        f"rank {who.rank} of {who.world_size} did not meet the others at {host}:{port} within {seconds:g} s: "
        "{reason}. Were all ranks started, is MASTER_ADDR reachable and MASTER_PORT free?"
    )
    silent = missed.format(reason="whoever listens there does not answer")
    try:
        with _ended_after(seconds + 3 * GRACE_SECONDS, silent):
            store = _store(host, port, who, seconds=seconds)
            missing = _missing_ranks(store, who, seconds=seconds)
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise LaunchError(missed.format(reason=str(error).splitlines()[0])) from error
    if missing:
        raise LaunchError(missed.format(reason=f"{missing} did not come"))
    return store


def _store(host: str, port: int, who: Launch, *, seconds: float) -> dist.Store:
    """The table of names that ranks meet at; rank 0 keeps it, unless torchrun does."""
    limit = timedelta(seconds=seconds)
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    table = dist.TCPStore(host, port, None, who.rank == 0 and not kept, limit, wait_for_workers=False)
    # A launcher that starts ranks anew keeps its table: names of the start before are still there.
    return dist.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", table)


def _missing_ranks(store: dist.Store, who: Launch, *, seconds: float) -> str:
    """Wait for all ranks; return those that did not come in words, to all that did.

    Rank 0 decides, so that all have the same answer, and stays until they have read it.
    """
    names = {rank: f"here/{rank}" for rank in range(who.world_size)}
    store.set(names[who.rank], "")
    if who.rank > 0:
        store.wait(["missing"], timedelta(seconds=seconds + GRACE_SECONDS))
        found = store.get("missing").decode()
        store.set(f"read/{who.rank}", "")
        return found
    try:
        store.wait(list(names.values()), timedelta(seconds=seconds))
        lost: list[int] = []
    except dist.DistStoreError:
        lost = [rank for rank, name in names.items() if not store.check([name])]
    first = ", ".join(str(rank) for rank in lost[:MOST_NAMED])
    more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
    found = f"rank{'s' if len(lost) > 1 else ''} {first}{more}" if lost else ""
    store.set("missing", found)
    if lost:
        with suppress(dist.DistStoreError):  # a rank that ended meanwhile reads nothing
            came = [f"read/{rank}" for rank in names if rank not in (0, *lost)]
            store.wait(came, timedelta(seconds=GRACE_SECONDS))
    return found


@contextmanager
def _ended_after(seconds: float, message: str) -> Iterator[None]:
    """End the process with a message if a block takes longer: torch waits for ever for the answer of a stranger."""

    def end() -> None:
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(LaunchError.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _meeting_point() -> tuple[str, int]:
    """Host and port of rank 0, from MASTER_ADDR and MASTER_PORT, else derived from the SLURM job."""
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if host is None:
        host = first_host(os.environ.get("SLURM_STEP_NODELIST", "localhost"))
    if port is None:
        # Every task computes the same port; two jobs that share a node have different ids.
        port = str(20_000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 20_000)
    if not port.isdecimal():
        raise LaunchError(f"MASTER_PORT should be a number, but is '{port}'.")
    return host, int(port)


def first_host(nodes: str) -> str:
    """First host of SLURM's compressed list: ``gpu[03-05,9],cpu1`` -> ``gpu03``."""
    found = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    return (found[1] + (found[2] or "")) if found else "localhost"
