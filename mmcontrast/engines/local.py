"""One process, one device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmcontrast.config import Positive, config
from mmcontrast.engines import ENGINES
from mmcontrast.model import Model


@ENGINES.register("local")
class Local:
    """Plain torch: autocast, backward, clip, step."""

    @config
    class Config:
        """Fields of the engine."""

        device: str = "auto"  # auto: cuda when there is one, else cpu
        precision: Literal["fp32", "bf16"] = (
            "fp32"  # bf16: matrix products of the towers; weights and losses stay fp32
        )
        clip_norm: Positive | None = None  # largest gradient norm; null: no clipping
        compile: bool = False  # torch.compile each tower

    def __init__(self, config: Any, *, model: Model, optimizer: Any) -> None:
        self.config = config
        chosen = config.device
        if chosen == "auto":
            chosen = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(chosen)
        self.model = model.to(self.device)
        if config.compile:
            for tower in self.model.towers.values():
                tower.compile(dynamic=None)
        self._optimizer = optimizer.build(self.model)
        self._base = [group["lr"] for group in self._optimizer.param_groups]

    def __call__(self, what: Literal["embed", "loss"], value: Any) -> Any:
        """Run the model; towers under autocast when asked, losses always in fp32."""
        if what == "embed" and self.config.precision == "bf16":
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                return self.model(what, value)
        return self.model(what, value)

    @contextmanager
    def one_update(self) -> Iterator[None]:
        """Nothing to reduce in one process."""
        yield

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients."""
        loss.backward()

    def step(self, *, lr_factor: float) -> float:
        """Clip, update, zero the gradients; return the gradient norm before clipping."""
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        if torch.isfinite(norm):  # a broken gradient must not reach the weights; the loop decides what follows
            for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
                group["lr"] = base * lr_factor
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def model_state(self) -> dict[str, Tensor]:
        """Every parameter and buffer on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """Put a state back."""
        self.model.load_state_dict(state)

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state."""
        return self._optimizer.state_dict()

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        self._optimizer.load_state_dict(state)
