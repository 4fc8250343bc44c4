"""A batch on its way from a loading process to the trainer.

torch hands every tensor over in shared memory of its own, whose descriptor the receiver asks for by a connection: for
a row of flags that costs a hundred times what its bytes do.  So small tensors travel as bytes, along with the rest.
Large ones travel on blocks that are filled again and again (lent_memory.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import get_worker_info

from mmcontrast.data.lent_memory import Place, borrower, lender
from mmcontrast.data.quarantine import BadRow
from mmcontrast.errors import MMContrastError
from mmcontrast.types import Batch, Column, Values

SMALL_BYTES = 64 << 10  # a pipe's buffer

Packed = tuple[Any, ...]


def is_small(num_bytes: int) -> bool:
    """Whether a tensor of so many bytes travels with its message."""
    return num_bytes <= SMALL_BYTES


def packed(batch: Batch) -> Packed:
    """What of a batch is pickled."""
    columns = {
        name: (column.modality, _packed_all(column.values), _packed(column.present), column.encoded)
        for name, column in batch.columns.items()
    }
    return columns, _packed_all(batch.labels), batch.keys


def unpacked(parts: Packed) -> Batch:
    """The batch again."""
    columns, labels, keys = parts
    return Batch(
        {
            name: Column(modality, _unpacked_all(values), _unpacked(present), encoded)
            for name, (modality, values, present, encoded) in columns.items()
        },
        _unpacked_all(labels),
        keys,
    )


def _packed_all(values: Values) -> Any:
    return {name: _packed(each) for name, each in values.items()} if isinstance(values, dict) else _packed(values)


def _unpacked_all(values: Any) -> Values:
    return {name: _unpacked(each) for name, each in values.items()} if isinstance(values, dict) else _unpacked(values)


def _packed(tensor: Tensor) -> Any:
    if is_small(tensor.nbytes):
        return tensor.numpy()
    mine = None if get_worker_info() is None else lender()
    return tensor if mine is None else mine.place(tensor) or tensor


def _unpacked(value: Any) -> Tensor:
    if isinstance(value, Place):
        return borrower().tensor(value)
    return value if isinstance(value, Tensor) else torch.from_numpy(value)


@dataclass(frozen=True)
class Loaded:
    """A batch, and what happened while it was made."""

    batch: Batch
    bad: list[BadRow] = field(default_factory=list)  # rows that others replaced
    delivered: dict[str, int] = field(default_factory=dict)  # source -> rows that stand in their own place
    sources: Int[Tensor, " B"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))  # in Loader.names
    worker: int = 0  # that made it
    reached: dict[str, int] = field(default_factory=dict)  # streamed source -> first shard it has not finished

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with small tensors as bytes."""
        sources = self.sources.numpy()
        return _arrived, (packed(self.batch), self.bad, self.delivered, sources, self.worker, self.reached)


def _arrived(batch: Packed, bad: list[BadRow], delivered: dict, sources: np.ndarray, *rest: Any) -> Loaded:
    return Loaded(unpacked(batch), bad, delivered, torch.from_numpy(sources), *rest)


@dataclass(frozen=True)
class Unfinished:
    """A batch that could not be made."""

    bad: list[BadRow]
    error: MMContrastError  # carried as it is: a DataLoader would pass on its traceback as the message
