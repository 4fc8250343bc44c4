"""What the train loop, the steps and the checkpoints may ask of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from mmcontrast.model import Model


@dataclass(frozen=True)
class Update:
    """What :meth:`Engine.step` did; the same on every rank."""

    grad_norm: float  # of the gradients averaged over ranks, before clipping; not finite when they are not
    applied: bool  # False: the gradients were not finite, so weights and optimizer are as before
    rescaled: bool = False  # True: not applied because fp16's loss scale was too large; it is halved, nothing is wrong


def make_row_major(model: Model) -> None:
    """Give every parameter row-major strides; those of a 1 x 1 kernel in channels-last order only look so."""
    for parameter in model.parameters():
        parameter.data = torch.empty(parameter.shape, device=parameter.device).copy_(parameter.data)


class Engine(Protocol):
    """Owns the model's placement, precision, optimizer and averaging over ranks.

    Every method is collective: all ranks call it, in the same order.  States are independent of the engine and of the
    number of ranks that wrote them: whole tensors by parameter name, copied and never recomputed, so that a state goes
    from ZeRO 3 to ddp, or from two ranks to one, bit for bit.
    """

    cuts_weights: ClassVar[bool]  # whether an optimizer sees flat parts of weights, not each as it is
    row_major: ClassVar[bool]  # whether weights lie in row-major order, whatever order a tower gave them
    device: torch.device
    model: Model

    @staticmethod
    def start(config: Any) -> None:
        """Join the other ranks, before anything else is done; ``config`` is the engine's.

        Raises:
            LaunchError: the launcher's ranks do not fit the engine, or do not find each other.
            MissingPackage: the engine needs a package that is not installed.
        """

    @property
    def loss_scale(self) -> float:
        """Factor that :meth:`backward` puts on a loss, hence on every gradient until :meth:`step`; 1 but in fp16."""

    def __call__(self, what: Literal["embed", "loss", "encode_resting"], value: Any) -> Any:
        """Run the model's forward: the one entry, so that wrappers and hooks always see it."""

    def one_update(self) -> AbstractContextManager[None]:
        """Any number of :meth:`backward` calls inside become one reduction; :meth:`step` comes after it."""

    def backward(self, loss: Tensor, *, last: bool = True) -> None:
        """Accumulate gradients.

        Args:
            last: no further backward follows in this update, so that averaging may overlap it.
        """

    def discard(self) -> None:
        """Forget the gradients so far, inside :meth:`one_update`: no further backward and no step will follow."""

    def step(self, *, lr_factor: float) -> Update:
        """Clip, update, zero the gradients."""

    def average(self, *, keep: float) -> None:
        """Move the average of the trained weights to ``keep`` times itself plus ``1 - keep`` times the weights.

        The first call makes it a copy of the weights.  It is part of :meth:`training_state`, as ``ema/PARAMETER``.
        """

    def gradients(self) -> dict[str, Tensor]:
        """The averaged gradient of each trainable parameter, between :meth:`one_update` and :meth:`step`."""

    def weights(self, which: Literal["raw", "ema"] = "raw") -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer, whole on every rank, one at a time: read it before the next is asked for.

        Args:
            which: ema: where there is an average, the average; before the first :meth:`average` there is none.
        """

    def model_state(self) -> dict[str, Tensor]:
        """Every parameter and buffer, whole, as copies on the CPU; on rank 0, and empty elsewhere."""

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """Put a :meth:`model_state` back; every rank brings all of it."""

    def training_state(self) -> dict[str, Tensor]:
        """Optimizer slots ``SLOT/PARAMETER`` and the loss scale, as copies on the CPU of rank 0; empty elsewhere."""

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Put a :meth:`training_state` back, after the weights; every rank brings all of it."""

    def save(self, folder: Path) -> None:
        """Write everything but :meth:`model_state` into an existing folder that all ranks see; rank 0 writes.

        Raises:
            CheckpointError: it cannot be written.
        """

    def load(self, folder: Path) -> None:
        """Read back what any engine's :meth:`save` wrote, on any number of ranks.

        Raises:
            CheckpointError: a file is missing or belongs to other parameters.
        """
