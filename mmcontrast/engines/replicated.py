"""What the engines share whose every rank holds all weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.engines.base import Update
from mmcontrast.engines.files import OPTIMIZER, read_tensors, write_tensors
from mmcontrast.engines.loss_scale import LossScale
from mmcontrast.model import Model
from mmcontrast.optim.state import AVERAGE, all_names, parameter_names, read_state, write_state

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Replicated:
    """Plain torch: autocast, backward, clip, step.  Subclasses say how gradients are averaged."""

    cuts_weights: ClassVar[bool] = False
    row_major: ClassVar[bool] = False

    def __init__(self, config: Any, *, model: Model, optimizer: Any) -> None:
        self.config = config
        self.device = comm.device(config.device)
        self.model = model.to(self.device)
        self.model.autocast = DTYPES[config.precision]
        self.model.compile_towers()
        self._optimizer: torch.optim.Optimizer = optimizer.build(self.model)
        self._base = [group["lr"] for group in self._optimizer.param_groups]
        self._names = parameter_names(self.model)
        self._scale = LossScale(enabled=config.precision == "fp16")
        self._average: dict[str, Tensor] = {}  # by the parameter's first name

    @property
    def loss_scale(self) -> float:
        """See the protocol."""
        return self._scale.value

    def __call__(self, what: Literal["embed", "loss", "encode_resting"], value: Any) -> Any:
        """Run the model; towers under autocast when asked, losses always in fp32."""
        return self.model(what, value)

    @contextmanager
    def one_update(self) -> Iterator[None]:
        """Gradients accumulate where they are."""
        yield

    def backward(self, loss: Tensor, *, last: bool = True) -> None:
        """Accumulate gradients."""
        (loss * self.loss_scale).backward()

    def discard(self) -> None:
        """Forget the gradients."""
        self.model.zero_grad(set_to_none=True)

    def step(self, *, lr_factor: float) -> Update:
        """Clip, update, zero the gradients."""
        self._unscale()
        norm = self._clip()
        finite = math.isfinite(norm)
        if finite:  # a broken gradient must not reach the weights; the loop decides what follows
            for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
                group["lr"] = base * lr_factor
            self._optimizer.step()
        rescaled = not finite and self.loss_scale > 1
        self._scale.update(finite=finite)
        self._optimizer.zero_grad(set_to_none=True)
        return Update(grad_norm=norm, applied=finite, rescaled=rescaled)

    def _clip(self) -> float:
        """Scale the gradients down to the largest norm allowed; the ones within it are not read twice."""
        norm = nn.utils.get_total_norm([each.grad for each in self.model.parameters() if each.grad is not None])
        limit = self.config.clip_norm
        if limit is not None and norm > limit:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), limit, norm)
        return float(norm)

    def _unscale(self) -> None:
        if self._scale.enabled:
            grads = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
            torch._foreach_mul_(grads, 1 / self.loss_scale)

    @torch.no_grad()
    def average(self, *, keep: float) -> None:
        """Move each weight's average."""
        for name, parameter in self.model.named_parameters():
            if name in self._average:
                self._average[name].lerp_(parameter, 1 - keep)
            elif parameter.requires_grad:
                self._average[name] = parameter.detach().clone()

    def gradients(self) -> dict[str, Tensor]:
        """Averaged gradients by name; zeros where none arrived."""
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad / self.loss_scale
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def weights(self, which: Literal["raw", "ema"] = "raw") -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer, where it lies."""
        first = all_names(self.model) if which == "ema" else {}
        for name, value in self.model.state_dict().items():
            yield name, self._average.get(first.get(name, ""), value.detach())

    def model_state(self) -> dict[str, Tensor]:
        """Every parameter and buffer, copied to the CPU of rank 0."""
        if comm.rank() > 0:
            return {}
        return {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in self.model.state_dict().items()
        }

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """Put a state back."""
        self.model.load_state_dict(state)

    def training_state(self) -> dict[str, Tensor]:
        """Optimizer slots, average and loss scale, copied to the CPU of rank 0."""
        if comm.rank() > 0:
            return {}
        average = {
            f"{AVERAGE}/{name}": self._average[first].to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, first in all_names(self.model).items()
            if first in self._average
        }
        return {**read_state(self._optimizer, self._names), **average, **self._scale.state()}

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Put a state back."""
        write_state(self._optimizer, self._names, state)
        self._average = {
            name: torch.empty_like(parameter).copy_(state[f"{AVERAGE}/{name}"])
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and f"{AVERAGE}/{name}" in state
        }
        self._scale.load(state)

    def save(self, folder: Path) -> None:
        """Write the training state from rank 0."""
        state = self.training_state()
        if comm.rank() == 0:
            write_tensors(folder / OPTIMIZER, state)

    def load(self, folder: Path) -> None:
        """Read the training state on every rank."""
        self.load_training_state(read_tensors(folder / OPTIMIZER))
