"""Weights and sounds that are the same on every machine, for numbers recorded from other packages."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def scattered(places: Tensor, number: int) -> Tensor:
    """Numbers in (-1, 1) that look random and are the same everywhere."""
    return ((places * 12.9898 + number * 78.233).sin() * 43758.5453).frac()


def two_sounds() -> Tensor:
    """A rising tone and a fading one, in noise: three quarters of a second at 8 kHz."""
    places = torch.arange(6000, dtype=torch.float64)
    time = places / 8000
    rising = 0.3 * (2 * torch.pi * (300 + 400 * time) * time).sin()
    fading = 0.2 * (2 * torch.pi * 1500 * time).sin() * (1 - time)
    return (torch.stack([rising, fading]) + 0.05 * scattered(places, 0)).float()


def fill(module: nn.Module) -> None:
    """Give a module scattered weights by the order of their names; those of norms lie around one."""
    state = module.state_dict()
    norms = {f"{name}.weight" for name, each in module.named_modules() if hasattr(each, "eps")}
    for number, name in enumerate(sorted(state)):
        if not state[name].is_floating_point() or name.endswith("attn_mask"):
            continue
        places = torch.arange(state[name].numel(), dtype=torch.float64).view(state[name].shape)
        values = scattered(places, number)
        if name == "bn0.running_mean":
            values = values - 30
        elif name == "bn0.running_var":
            values = 100 * (2 + values)
        elif name.endswith("running_var"):
            values = 2 + values
        else:
            values = 0.3 * values + (name in norms)
        state[name].copy_(values)
