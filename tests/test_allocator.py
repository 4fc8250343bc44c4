"""Freed memory is used again, where the C library is glibc; fresh memory is mapped at once, where the system can."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest
import torch

from mmcontrast.allocator import take_pages

# Faults of pages while 100 blocks of 64 MB are taken, written and freed, one after another.
_PROGRAM = """
import resource
import torch
from mmcontrast.allocator import keep_freed_memory
assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_pages_are_touched_once() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    once = (1 << 26) // 4096
    assert int(done.stdout) < 20 * once  # without the setting: 100 times


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux maps pages on request")
def test_pages_that_were_taken_are_not_faulted_in_one_by_one() -> None:
    num_bytes = 1 << 22
    storage = torch.UntypedStorage._new_shared(num_bytes)
    if not take_pages(storage.data_ptr(), num_bytes):
        pytest.skip("Linux before 5.14")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    storage.fill_(1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < num_bytes // 4096 // 10
    assert not take_pages(0, num_bytes)  # no memory there: said, not raised
