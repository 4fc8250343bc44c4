"""Pair attributions of a dual encoder: how much each pair of a place and a token gives to the similarity.

Letters: P places of one input, Q places of the other, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.errors import NeedsError
from mmcontrast.model import Model
from mmcontrast.towers.base import Tower
from mmcontrast.types import Values, map_values

ROWS = 64  # copies of an input that go through the tower at once, one for each of as many dimensions


@dataclass(frozen=True)
class Side:
    """One input, as directions of the embedding see it from its places."""

    shares: Float[Tensor, "K P"]  # of each direction's difference to the reference
    grid: tuple[int, ...]  # the places as they lie: (T,) tokens, (H, W) cells of a map
    z: Float[Tensor, " D"]
    z_reference: Float[Tensor, " D"]


@dataclass(frozen=True)
class Pair:
    """Attributions of one similarity."""

    values: Float[Tensor, "P Q"]
    score: float  # similarity of the two inputs
    references: float  # what the score has besides: similarities with and of the references

    @property
    def total(self) -> float:
        """Sum of all attributions; with exact integrals, ``score - references``."""
        return float(self.values.sum())

    @property
    def error(self) -> float:
        """What the finite number of steps leaves out of the sum."""
        return self.total - (self.score - self.references)


def attributed(media: Side, text: Side, *, first: int = 0) -> Pair:
    """Attributions of every pair of a place and a token: the product of both sides' integrated Jacobians.

    The integral over the media is linear in the text's Jacobian, so the media's directions are the text's shares: a
    few tokens in the place of every dimension.

    Args:
        media: made with directions among which, from ``first`` on, are the columns of ``text.shares``.

    Source: Moeller et al. 2024, arXiv:2408.14153, equations 3 to 6: sum_ij A_ij = (f(a) - f(r_a)) . (g(b) - g(r_b)).
    """
    tokens = text.shares.shape[1]
    references = media.z @ text.z_reference + media.z_reference @ text.z - media.z_reference @ text.z_reference
    return Pair(media.shares[first : first + tokens].T, float(media.z @ text.z), float(references))


def side(
    model: Model,
    modality: str,
    values: Values,
    reference: Values,
    *,
    directions: Float[Tensor, "D K"] | None = None,
    steps: int,
) -> Side:
    """Integrate the embedding's Jacobian from a reference to an input, at the entrance of the tower's first block.

    Args:
        values, reference: one row each, of the same shape.
        directions: in which the embedding is looked at; null: every dimension.
        steps: points of the integral (Gauss and Legendre's).

    Raises:
        NeedsError: similarities are no dot products, or the tower is not made of blocks that see places.
    """
    if not model.geometry.dot_product:
        raise NeedsError("explain reads similarities that are dot products; this geometry's are not.")
    block = first_block(model.towers[modality], modality)
    start, end = (_entering(model, block, modality, each) for each in (reference, values))
    difference = end - start  # (1, ...)
    wanted = (torch.eye(model.config.dim) if directions is None else directions.T).to(difference.device)  # (K, D)
    points, weights = np.polynomial.legendre.leggauss(steps)
    shares = torch.zeros(len(wanted), *_places(difference).shape[1:], device=difference.device)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        inside = start + float(point) * difference
        for first in range(0, len(wanted), ROWS):
            part = wanted[first : first + ROWS]
            inner = inside.expand(len(part), *inside.shape[1:]).clone().requires_grad_(True)
            many = map_values(values, partial(_copies, rows=len(part)))
            with _replaced(block, inner):
                z = model.encode(modality, many)
            (jacobian,) = torch.autograd.grad((z * part).sum(), inner)  # rows are independent of each other
            shares[first : first + ROWS] += float(weight) * _places(jacobian * difference)
    with torch.no_grad():
        z = model.encode(modality, values)[0]
        with _replaced(block, start):
            z_reference = model.encode(modality, values)[0]
    return Side(shares.flatten(1).cpu(), tuple(shares.shape[1:]), z.cpu(), z_reference.cpu())


def first_block(tower: nn.Module, modality: str) -> nn.Module:
    """The module that first mixes places.

    Raises:
        NeedsError: the tower does not say which it is.
    """
    assert isinstance(tower, Tower)
    blocks = tower.layout().blocks
    if blocks and blocks[0]:
        parts = [name.split(".") for name in blocks[0]]
        shared: list[str] = []
        for level in zip(*parts, strict=False):
            if len(set(level)) > 1:
                break
            shared.append(level[0])
        while shared:
            found = tower.get_submodule(".".join(shared)) if _is_module(tower, shared) else None
            if found is not None and not isinstance(found, nn.ModuleList):
                return found
            shared.pop()
    name = tower.config.registry_name
    raise NeedsError(f"the {modality} tower '{name}' is not made of blocks that could be entered.")


def _is_module(tower: nn.Module, parts: list[str]) -> bool:
    return ".".join(parts) in dict(tower.named_modules())


def _copies(row: Tensor, *, rows: int) -> Tensor:
    return row.expand(rows, *row.shape[1:])


def _places(values: Tensor) -> Tensor:
    """Sum over channels: (R, T, C) -> (R, T), (R, C, H, W) -> (R, H, W)."""
    if values.ndim == 3:
        return values.sum(dim=2)
    if values.ndim == 4:
        return values.sum(dim=1)
    raise NeedsError(f"explain reads tokens (rows, T, C) or maps (rows, C, H, W), not {tuple(values.shape)}.")


def _entering(model: Model, block: nn.Module, modality: str, values: Values) -> Tensor:
    """What enters a block."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(given[0].detach())

    handle = block.register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            model.encode(modality, values)
    finally:
        handle.remove()
    if not seen:
        raise NeedsError(f"the {modality} tower does not pass through its first block.")
    return seen[0]


@contextmanager
def _replaced(block: nn.Module, inner: Tensor) -> Iterator[None]:
    """Let something else enter a block."""

    def put(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inner, *given[1:])

    handle = block.register_forward_pre_hook(put)
    try:
        yield
    finally:
        handle.remove()
