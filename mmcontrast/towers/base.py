"""What every tower offers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmcontrast.errors import ConfigError
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.types import Features, Values

__all__ = ["AudioSpec", "ImageSpec", "InputSpec", "Layout", "TextSpec", "Tower", "layout_of"]


@dataclass(frozen=True)
class Layout:
    """Names of a tower's parameters, in the order in which its input meets them."""

    embeddings: list[str]  # before the first block: patches, tokens, positions, and norms among them
    blocks: list[list[str]]  # the first one first; empty when the tower is not made of blocks
    final: list[str]  # after the last block: norm, pooling, projection


def layout_of(
    module: nn.Module, *, embeddings: Sequence[str], blocks: Sequence[Sequence[str]], prefix: str = ""
) -> Layout:
    """Sort the parameters of ``module`` by the prefixes of their names; what fits none is ``final``.

    Args:
        embeddings: names of modules or parameters.
        blocks: names of the modules of each block.
        prefix: of ``module`` in the tower, as in ``"inner."``.
    """
    places = [(f"{prefix}{name}", -1) for name in embeddings]
    places += [(f"{prefix}{name}", number) for number, names in enumerate(blocks) for name in names]
    found: dict[int | None, list[str]] = {}
    for parameter, _ in module.named_parameters(prefix=prefix.removesuffix(".")):
        fits = (place for name, place in places if parameter == name or parameter.startswith(f"{name}."))
        found.setdefault(next(fits, None), []).append(parameter)
    return Layout(found.get(-1, []), [found.get(number, []) for number in range(len(blocks))], found.get(None, []))


class Tower(nn.Module):
    """Inputs of one modality -> :class:`Features`.  Knows no loss, no rank and no other modality.

    A subclass has a nested ``Config`` with ``modality`` (a class attribute) and ``input_spec()``, both usable
    before any weight exists, and sets ``self.width``.
    """

    width: int  # size of Features.pooled
    checkpointing = False  # whether the activations of blocks are computed a second time in backward

    class Config:
        """Fields of the tower; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def preprocessing(self) -> dict[str, Any]:
        """Parameters of what the tower does to its inputs before the first weight, as plain JSON."""
        return {}

    def forward(self, values: Values) -> Features:
        """Encode B rows."""
        raise NotImplementedError

    @property
    def token_width(self) -> int:
        """Size of a token of Features.tokens; the pooled features' unless a tower says otherwise."""
        return self.width

    def layout(self) -> Layout:
        """Where each parameter stands between input and output; one that is not made of blocks is all ``final``."""
        return layout_of(self, embeddings=(), blocks=())

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give weights that others publish this tower's names, and leave out what it has no place for."""
        return state

    def checkpoint_activations(self) -> None:
        """From now on keep only what enters each block, and compute the rest again in backward.

        Source: Chen et al. 2016, arXiv:1604.06174.

        Raises:
            ConfigError: the tower cannot.
        """
        if not self.layout().blocks:
            raise ConfigError(f"checkpointing: '{self.config.registry_name}' is not made of blocks.")
        self.checkpointing = True

    def through(self, blocks: Iterable[nn.Module], x: Tensor, *others: Any) -> Tensor:
        """Run ``x`` through blocks one after another, each with ``others`` beside it."""
        for block in blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, *others, use_reentrant=False)
            else:
                x = block(x, *others)
        return x
