"""An optimizer's state by parameter name: whole tensors that any engine can take up again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AVERAGE = "ema"  # the moving average of a weight, among the slots of the optimizer
STEP = "step"  # number of updates: beside each parameter (torch), or once in a group (timm's Lamb)


def parameter_names(model: nn.Module) -> dict[int, str]:
    """``id(parameter)`` -> name, for the trainable ones."""
    return {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}


def all_names(model: nn.Module) -> dict[str, str]:
    """Every name of each trainable parameter -> its first one: a tied weight has several."""
    first = parameter_names(model)
    named = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in named if parameter.requires_grad}


def read_state(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Tensor]:
    """Copy the state to the CPU as ``{"SLOT/PARAMETER": tensor}``; empty before the first update."""
    result: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            slots = optimizer.state.get(parameter, {})
            name = names[id(parameter)]
            result |= {f"{slot}/{name}": _copy(value) for slot, value in slots.items() if torch.is_tensor(value)}
            if slots and STEP in group:
                result[f"{STEP}/{name}"] = torch.tensor(float(group[STEP]))
    return result


def write_state(optimizer: torch.optim.Optimizer, names: dict[int, str], state: dict[str, Tensor]) -> None:
    """Put a state back.  Parameters that it does not hold (a tower unlocked since) start anew."""
    slots = sorted({key.partition("/")[0] for key in state} - {AVERAGE})
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            found = {slot: state[f"{slot}/{name}"] for slot in slots if f"{slot}/{name}" in state}
            if STEP in group and STEP in found:
                group[STEP] = found.pop(STEP).to(group[STEP].device, copy=True)
            on_device = bool(group.get("fused") or group.get("capturable"))
            if found:
                optimizer.state[parameter] = {
                    slot: _placed(value, parameter, on_device=on_device or slot != STEP)
                    for slot, value in found.items()
                }


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _placed(value: Tensor, parameter: Tensor, *, on_device: bool) -> Tensor:
    if value.shape == parameter.shape:  # in the parameter's own memory format, as the optimizer would make it
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return value.to(parameter.device if on_device else "cpu", copy=True)
