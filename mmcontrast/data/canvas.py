"""Memory of a batch's pictures and sounds, taken before they are made, so that each goes straight into its place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from mmcontrast.allocator import take_pages
from mmcontrast.data.handover import is_small
from mmcontrast.data.lent_memory import lender
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec


class Canvas:
    """Places for the pictures of one column of a batch; letter: P pictures."""

    def __init__(self, rows: int) -> None:
        """Take no memory yet.

        Args:
            rows: of the batch.
        """
        self.row = 0  # that is being drawn
        self._rows = rows
        self._whole: Tensor | None = None

    def place(self, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Where the picture of the current row goes; a row that is drawn again gets the same place."""
        if self._whole is None:
            self._whole = empty((self._rows, size, size, 3), torch.uint8)
        return self._whole[self.row].numpy()

    def filled(self, cells: Sequence[np.ndarray]) -> UInt8[Tensor, "P size size 3"] | None:
        """The memory with a picture of every row, each copied where it was not made in place.

        None where some row has none, or none was made here.

        Args:
            cells: uint8 of shape (3, size, size), in the order of the rows.
        """
        whole = self._whole
        if whole is None or len(cells) != self._rows:
            return None
        for place, cell in zip(whole, cells, strict=True):
            if cell.ctypes.data != place.data_ptr() or cell.strides != (1, 3 * cell.shape[2], 3):
                place.copy_(torch.from_numpy(cell.transpose(1, 2, 0)))
        return whole


class SoundCanvas:
    """Places for the sounds of a column that every row of a batch has; letter: P sounds.

    A sound is copied to its place as soon as it is made: its bytes are still in the processor's cache, and the next
    one is made in the same memory.
    """

    def __init__(self, rows: int, samples: int) -> None:
        """Take no memory yet.

        Args:
            rows: of the batch.
            samples: of each sound.
        """
        self.row = 0  # that is being drawn
        self._shape = (rows, samples)
        self._whole: Tensor | None = None

    def kept(self, wave: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
        """Copy the current row's sound to its place, and return that."""
        if self._whole is None:
            self._whole = empty(self._shape, torch.float32)
        place = self._whole[self.row].numpy()
        place[:] = wave
        return place

    def filled(self, cells: Sequence[np.ndarray]) -> Float32[Tensor, "P samples"] | None:
        """The memory, if it holds these sounds, in the order of the rows."""
        whole = self._whole
        if whole is None or len(cells) != len(whole):
            return None
        same = all(cell.ctypes.data == place.data_ptr() for place, cell in zip(whole, cells, strict=True))
        return whole if same else None


AnyCanvas = Canvas | SoundCanvas


def canvases(specs: Mapping[str, InputSpec], *, rows: int, everywhere: Collection[str]) -> dict[str, AnyCanvas]:
    """Places for the columns of a batch.

    Args:
        rows: of the batch.
        everywhere: columns that every row of it has.
    """
    found: dict[str, AnyCanvas] = {}
    for name, spec in specs.items():
        if isinstance(spec, ImageSpec):
            found[name] = Canvas(rows)
        elif isinstance(spec, AudioSpec) and spec.fusion is None and name in everywhere:
            found[name] = SoundCanvas(rows, spec.samples)
    return found


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor; a large one in a loading process lies in memory shared with the trainer."""
    num_bytes = prod(shape) * dtype.itemsize
    if get_worker_info() is None or is_small(num_bytes):
        return torch.empty(shape, dtype=dtype)
    mine = lender()
    lent = None if mine is None else mine.empty(shape, dtype)
    if lent is not None:
        return lent
    storage = torch.UntypedStorage._new_shared(num_bytes)
    take_pages(storage.data_ptr(), storage.nbytes())
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)
