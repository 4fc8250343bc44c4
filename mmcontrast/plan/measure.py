"""Sizes of weights, of what one row's forward keeps for backward, of optimizer states and of losses.

Towers and optimizer run on tensors that have shapes and no memory, and torch tells each one that autograd keeps: a
model of any size is measured on any machine.  Losses run on a few real rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcontrast.made_up import input_rows
from mmcontrast.model import Model, modality_of
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.specs import InputSpec
from mmcontrast.tiles.tiling import TilesConfig
from mmcontrast.types import Embeddings, Values

FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class PerRow:
    """Bytes of one row of a column."""

    inputs: int  # as the loader brings it
    activations: int  # kept by tower and head for backward
    recomputed: int = 0  # of one block, while backward computes it again


def _size(values: Values) -> int:
    """Bytes of a column's values."""
    return values.nbytes if isinstance(values, Tensor) else sum(each.nbytes for each in values.values())


def kept_bytes(forward: Callable[[], Tensor], model: torch.nn.Module) -> int:
    """Bytes that autograd keeps of a forward, each memory once, weights not counted."""
    known = {_memory(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    alive = []  # a freed tensor's place could be given again

    def note(tensor: Tensor) -> Tensor:
        if _memory(tensor) not in known:
            kept[_memory(tensor)] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result
    return sum(kept.values())


def _memory(tensor: Tensor) -> int:
    """Which memory a tensor lies in; tensors without any have one as well."""
    return tensor.untyped_storage()._cdata


def per_row(model: Model, column: str, spec: InputSpec, *, half: bool) -> PerRow:
    """What one more row of a column costs: the difference between two rows and one.

    Half precision is measured in bfloat16, which is as wide as fp16 and has all kernels on the CPU.
    """
    model.train()

    def forward(rows: int) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return model.encode(modality_of(column), input_rows(spec, rows))

    one, two = (kept_bytes(lambda rows=rows: forward(rows), model) for rows in (1, 2))  # type: ignore[misc]
    return PerRow(inputs=_size(input_rows(spec, 1)), activations=two - one)


def optimizer_bytes(model: Model, optimizer: Any) -> int:
    """Bytes of the states that the optimizer keeps, seen after one update with gradients of zero."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    built: torch.optim.Optimizer = optimizer.build(model)
    built.step()
    states = [value for state in built.state.values() for value in state.values() if isinstance(value, Tensor)]
    model.zero_grad(set_to_none=True)
    return sum(state.nbytes for state in states)


def loss_bytes(
    objective: Objective, *, local_rows: int, world_size: int, dim: int, made_up: Callable[[int], Embeddings]
) -> int:
    """Bytes that an objective needs on a rank beside embeddings and their gradients.

    One that computes in tiles needs what it may keep, two tiles, and on several ranks the blocks that visit and arrive
    with their gradients.  Of any other, what autograd keeps is measured for few rows and drawn on: a part in
    proportion to the rows of this rank times those of all, a part in proportion to the former.  The gradient of such a
    matrix needs as much again.

    Args:
        made_up: makes so many rows of all that the objective reads.
    """
    ways = [value for value in vars(objective.config).values() if isinstance(value, TilesConfig)]
    whole = local_rows * local_rows * world_size * FLOAT
    if ways and local_rows * world_size >= ways[0].from_rows:
        pairs = sum(isinstance(module, LogitScale) for module in objective.modules())
        tile = min(ways[0].rows, local_rows) * min(ways[0].columns, local_rows) * FLOAT
        kept = min(ways[0].keep_mb * 1_000_000, whole)
        blocks = 4 * local_rows * dim * FLOAT if world_size > 1 else 0
        return pairs * kept + 2 * tile + blocks
    few, more = (kept_bytes(lambda rows=rows: objective(made_up(rows)).loss, objective) for rows in (16, 32))  # type: ignore[misc]
    squared = (more - 2 * few) / (32**2 - 2 * 16**2)  # a n^2 + b n through both
    single = few / 16 - 16 * squared
    return round(2 * max(squared, 0.0) * local_rows**2 * world_size + max(single, 0.0) * local_rows)
