"""Loading processes: how they begin, that they end with what started them, and one message when one is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmcontrast.allocator import keep_freed_memory
from mmcontrast.errors import WorkerLost

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def settle(_number: int) -> None:
    """Prepare a loading process: its parent alone ends it; it takes and frees the same large arrays for every row.

    By itself it looks for its parent between two batches alone: one that is stopped, or stuck in a read, would stay
    for ever, with its memory and the launcher's pipes.  The kernel kills it at the end of the thread that forked it.

    Slurm and terminals signal whole groups of processes.  The rank then finishes its step and saves, and needs its
    batches for that: a loading process hears its parent's SIGTERM, and no other signal to stop.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, args=(os.getppid(),), daemon=True).start()
    keep_freed_memory()


def _end_when_told(parent: int) -> None:
    while sys.platform == "linux":
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(0)


@contextmanager
def naming_lost_workers() -> Iterator[None]:
    """Turn what a DataLoader raises, at any point of the block, for a worker that died or hangs into one message.

    Raises:
        WorkerLost: a worker did.
    """
    try:
        yield
    except (ConnectionError, EOFError) as error:
        # It died while its tensors were handed over, and broke the connection that they came through.
        raise _lost(_noticed_death() or error) from error
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise _lost(error) from error


def _noticed_death() -> RuntimeError | None:
    """Wait for torch's handler of the worker's death, which raises wherever it finds the process."""
    try:
        time.sleep(1.0)
    except RuntimeError as error:
        return error
    return None


def _lost(error: Exception) -> WorkerLost:
    return WorkerLost(
        f"a loader worker is lost: {str(error).strip()} If it was killed for memory, lower data.workers, "
        "data.prefetch or data.block_rows. The same command goes on from the newest checkpoint."
    )
