"""Shared memory that a loading process lends to the trainer with a batch, and fills again once the batch is gone.

torch takes new pages for every tensor that it hands over, and gives them back after the step: for large batches of
sounds that costs as much as copying them.  Here a block stays.  Its first byte says whether it is lent: the loading
process writes 1 when it takes it, the trainer 0 when the last tensor on it is freed.

Blocks are files without a name, which nothing leaves behind, however the processes end.  The trainer opens them as
``/proc/PID/fd/N``; where that is not to be had, nothing is lent, and torch does it.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmcontrast.allocator import take_pages

PAGE = mmap.PAGESIZE  # before the contents of a block
MOST_BLOCKS = 32  # of a loading process
FREE, LENT = 0, 1


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes are: a block of another process, and the tensor's layout on it."""

    process: int
    file: int  # descriptor, in that process
    block: int  # inode: another block behind the same descriptor is another one
    num_bytes: int  # of the block, after its first page
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int  # in elements


class Block:
    """One block, in the process that lends it."""

    def __init__(self, num_bytes: int) -> None:
        """Take memory.

        Raises:
            OSError: there is none.
        """
        self.file = os.memfd_create("mmcontrast-batch")
        self.num_bytes = num_bytes
        try:
            os.ftruncate(self.file, PAGE + num_bytes)
            self._map = mmap.mmap(self.file, PAGE + num_bytes)
        except OSError:
            os.close(self.file)
            raise
        self.number = os.fstat(self.file).st_ino
        self.address = _contents(self._map, num_bytes).ctypes.data
        take_pages(self.address, num_bytes)
        self._sent = threading.Event()

    @property
    def free(self) -> bool:
        """Whether no tensor lies on it, here or in the trainer."""
        return self._map[0] == FREE

    def take(self) -> Tensor:
        """Return all of it as bytes.  It is free again once that tensor is, unless it was handed over before."""
        self._map[0] = LENT
        self._sent = sent = threading.Event()  # its own: the last tensor may still wait to be dropped
        contents = _contents(self._map, self.num_bytes)
        weakref.finalize(contents, _dropped, self._map, sent).atexit = False
        return torch.from_numpy(contents)

    def hand_over(self) -> None:
        """From now on the trainer says when it is free."""
        self._sent.set()


def _dropped(block: mmap.mmap, sent: threading.Event) -> None:
    if not sent.is_set():
        block[0] = FREE


class Lender:
    """The blocks of this loading process."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}  # by the address of their contents

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """Return an uninitialised tensor on a block; None when every block is lent, or memory is short."""
        num_bytes = prod(shape) * dtype.itemsize
        fitting = [block for block in self._blocks.values() if block.num_bytes >= num_bytes and block.free]
        block = min(fitting, key=lambda each: each.num_bytes) if fitting else self._another(num_bytes)
        return None if block is None else block.take()[:num_bytes].view(dtype).view(shape)

    def place(self, tensor: Tensor) -> Place | None:
        """Hand over the block that a tensor lies on; None where it lies on none."""
        block = self._blocks.get(tensor.untyped_storage().data_ptr())
        if block is None:
            return None
        block.hand_over()
        layout = (tensor.dtype, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))
        return Place(os.getpid(), block.file, block.number, block.num_bytes, *layout)

    def _another(self, num_bytes: int) -> Block | None:
        if len(self._blocks) >= MOST_BLOCKS:
            return None
        step = 1 << max(16, num_bytes.bit_length() - 3)  # batches of nearly one size share a block
        try:
            block = Block(-(-num_bytes // step) * step)
        except OSError:  # too little memory, or too many files: torch's way needs neither twice
            return None
        self._blocks[block.address] = block
        return block


class Borrower:
    """Blocks of loading processes, in the trainer."""

    def __init__(self) -> None:
        self._maps: dict[tuple[int, int], mmap.mmap] = {}  # by process and number of the block

    def tensor(self, place: Place) -> Tensor:
        """Return what was handed over; its block is free again when the tensor is gone.

        Raises:
            OSError: the process is gone, and was before its block was seen.
        """
        block = self._maps.get((place.process, place.block)) or self._open(place)
        contents = _contents(block, place.num_bytes)
        weakref.finalize(contents, block.__setitem__, 0, FREE).atexit = False
        whole = torch.from_numpy(contents).view(place.dtype)
        return whole.as_strided(place.shape, place.strides, place.offset)

    def _open(self, place: Place) -> mmap.mmap:
        self._maps = {key: block for key, block in self._maps.items() if Path(f"/proc/{key[0]}").exists()}
        with open(f"/proc/{place.process}/fd/{place.file}", "r+b", buffering=0) as stream:
            if os.fstat(stream.fileno()).st_ino != place.block:
                raise OSError(f"process {place.process} is not the one that sent a batch")
            block = mmap.mmap(stream.fileno(), PAGE + place.num_bytes)
        self._maps[place.process, place.block] = block
        return block


@cache
def lender() -> Lender | None:
    """This loading process's lender; None where processes cannot open each other's files."""
    try:
        os.listdir(f"/proc/{os.getppid()}/fd")
    except OSError:  # not Linux, or processes are hidden from each other
        return None
    return Lender()


@cache
def borrower() -> Borrower:
    """This process's blocks of others."""
    return Borrower()


def _contents(block: mmap.mmap, num_bytes: int) -> np.ndarray:
    return np.frombuffer(block, np.uint8, num_bytes, PAGE)
