"""How the C library hands memory out: for training on a CPU."""

from __future__ import annotations

import ctypes

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Let freed blocks be used again at the next step, where glibc would return them to the system.

    A step frees and takes the same large tensors again and again, and fresh pages cost the system's time: a tenth of
    the quickstart's.  The process keeps its peak of memory until it ends.  Results stay the same.

    Returns:
        Whether the C library took the setting; others than glibc do not know it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(name, _LARGEST) == 1 for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
