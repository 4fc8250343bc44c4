"""Two calls timed in turns, so that both meet the same moods of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable


def in_turns(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    turns: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Seconds of each call in each turn, those that warm up left out."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + warm_up):
        for place, call in enumerate((first, second)):
            began = clock()
            call()
            if turn >= warm_up:
                times[place].append(clock() - began)
    return times
