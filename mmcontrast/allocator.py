"""How the system hands memory out: for training on a CPU, and for loading processes."""

from __future__ import annotations

import ctypes

# Names and numbers of glibc's malloc.h, and of Linux's mman.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MADV_POPULATE_WRITE = 23
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


def take_pages(address: int, num_bytes: int) -> bool:
    """Let the system map fresh pages at once, where it would stop at the first write to each.

    Args:
        address: where memory begins, a multiple of the page size.

    Returns:
        Whether it did; Linux can from 5.14 on.  Without it the memory is the same, only slower to fill.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None:
        return False
    return madvise(ctypes.c_void_p(address), ctypes.c_size_t(num_bytes), _MADV_POPULATE_WRITE) == 0
