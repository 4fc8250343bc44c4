"""An engine whose state is a chain of hashes: whether a checkpoint is right follows from its step alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from mmcontrast.checkpoint import Clock
from mmcontrast.checkpoint.writer import Checkpoints
from mmcontrast.run import CheckpointConfig

REPEATS = 2_000  # copies of the 32 bytes in the weights: 64 KB, so that a write can be cut in its middle


class Chain:
    """As much of an engine as checkpoints ask for."""

    def __init__(self) -> None:
        self.link = hashlib.sha256(b"start").digest()
        self.clock = Clock()

    def advance(self) -> None:
        self.link = hashlib.sha256(self.link).digest()
        self.clock.step += 1

    def model_state(self) -> dict[str, Tensor]:
        return {"weight": torch.frombuffer(bytearray(self.link), dtype=torch.uint8).repeat(REPEATS)}

    def training_state(self) -> dict[str, Tensor]:
        return {"exp_avg/weight": torch.frombuffer(bytearray(self.link[::-1]), dtype=torch.uint8).clone()}

    def resume(self, checkpoints: Checkpoints) -> None:
        saved = checkpoints.resume()
        if saved is not None:
            self.clock, self.link = saved.clock, saved.model["weight"][:32].numpy().tobytes()


def expected(step: int) -> Chain:
    """The chain after so many steps."""
    chain = Chain()
    for _ in range(step):
        chain.advance()
    return chain


def opened(folder: Path, said: list[str] | None = None, **fields: object) -> Checkpoints:
    """The checkpoints of a folder; what they say is appended to ``said``."""
    return Checkpoints(folder, CheckpointConfig(**fields), say=(said if said is not None else []).append)


def take(checkpoints: Checkpoints, chain: Chain, **metrics: float) -> None:
    """Take a checkpoint of the chain."""
    checkpoints.take(chain.clock, chain, loader={}, about={"metrics": metrics})  # type: ignore[arg-type]


def saved_steps(folder: Path, steps: int, **fields: object) -> list[int]:
    """Save at every step and return the steps that are still there."""
    chain = Chain()
    with opened(folder, **fields) as checkpoints:
        for _ in range(steps):
            chain.advance()
            take(checkpoints, chain, loss=abs(chain.clock.step - 3.2))
            checkpoints.settle()
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))
