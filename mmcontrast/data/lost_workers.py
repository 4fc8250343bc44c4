"""A loading process that died or hangs, as one message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmcontrast.errors import WorkerLost


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
