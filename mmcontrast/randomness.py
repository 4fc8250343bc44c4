"""Seeds, and random states that can be captured, replayed and saved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int, rank: int) -> None:
    """Seed python, numpy and torch; ranks differ, so that their dropout does."""
    random.seed(f"{seed}/{rank}")
    np.random.seed(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    torch.manual_seed(seed * 1_000_003 + rank)


def seed_rank(seed: int, rank: int) -> None:
    """Let ranks draw apart from here on; rank 0 goes on where it is, as one process does."""
    if rank > 0:
        seed_all(seed, rank)


def capture_all() -> dict[str, Any]:
    """State of every generator of this process, of plain containers and tensors."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    words = torch.from_numpy(np.asarray(keys, dtype=np.int64))
    return {
        "python": [version, torch.tensor(numbers, dtype=torch.int64), gauss],
        "numpy": [name, words, int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_all(state: dict[str, Any]) -> None:
    """Put a :func:`capture_all` back."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run a block that may draw from any generator, then go on as if it had not run."""
    state = capture_all()
    try:
        yield
    finally:
        restore_all(state)


@dataclass(frozen=True)
class RandomState:
    """State of torch's generators on the CPU and on one device."""

    cpu: Tensor
    device: Tensor | None
    where: torch.device

    @staticmethod
    def capture(where: torch.device) -> RandomState:
        """Take the state as it is now."""
        on_device = torch.cuda.get_rng_state(where) if where.type == "cuda" else None
        return RandomState(torch.get_rng_state(), on_device, where)

    def restore(self) -> None:
        """Put the state back."""
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, self.where)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Run a block from this state, then go on as if it had not run."""
        now = RandomState.capture(self.where)
        self.restore()
        try:
            yield
        finally:
            now.restore()
