"""What the train loop and the steps may ask of an engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mmcontrast.model import Model


class Engine(Protocol):
    """Owns the model's placement, precision and optimizer."""

    device: torch.device
    model: Model

    def __call__(self, what: Literal["embed", "loss"], value: Any) -> Any:
        """Run the model's forward: the one entry, so that wrappers and hooks always see it."""

    def one_update(self) -> AbstractContextManager[None]:
        """Any number of :meth:`backward` calls inside become one reduction."""

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients."""

    def step(self, *, lr_factor: float) -> float:
        """Clip, update, zero the gradients; return the gradient norm before clipping."""

    def model_state(self) -> dict[str, Tensor]:
        """Every parameter and buffer, whole, on the CPU."""

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """Put a :meth:`model_state` back."""

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state, of plain containers and tensors."""

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Put an :meth:`optimizer_state` back."""
