"""Copies of encoders that no gradient reaches: a frozen teacher, and a momentum copy that follows slowly."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mmcontrast.geometry.base import Geometry
from mmcontrast.types import Features, Values


class FrozenCopy(nn.Module):
    """Towers, heads and geometry in evaluation mode, without gradient.

    A teacher is one of a finished run's model.  Evaluation mode draws no random numbers, so that embedding a batch
    again (GradCache) sees the same dropout in the trained towers.
    """

    def __init__(self, towers: nn.ModuleDict, heads: nn.ModuleDict, geometry: Geometry, *, dim: int) -> None:
        """Copy the parts.

        Args:
            dim: width of the embeddings.
        """
        super().__init__()
        self.dim = dim
        self.towers, self.heads = copy.deepcopy(towers), copy.deepcopy(heads)
        self.geometry = copy.deepcopy(geometry)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenCopy:
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, modality: str, values: Values) -> Tensor:
        """Embed rows of one modality, all of them present: (B, ...) -> (B, D)."""
        return self.project(modality, self.features(modality, values))

    @torch.no_grad()
    def features(self, modality: str, values: Values) -> Features:
        """What the tower says of rows of one modality."""
        return self.towers[modality](values)

    @torch.no_grad()
    def project(self, modality: str, features: Features) -> Tensor:
        """From a tower's features to embeddings: (B, D)."""
        return self.geometry.project(self.heads[modality](features.pooled))


class MomentumCopy(FrozenCopy):
    """Exponential moving average of the encoders' weights.

    Source: He et al. 2020, arXiv:1911.05722.
    """

    @torch.no_grad()
    def follow(self, towers: nn.ModuleDict, heads: nn.ModuleDict, geometry: Geometry, *, keep: float) -> None:
        """Move to ``keep`` times these weights plus ``1 - keep`` times the given ones; buffers are copied."""
        for mine, theirs in ((self.towers, towers), (self.heads, heads), (self.geometry, geometry)):
            online = dict(theirs.named_parameters())
            for name, parameter in mine.named_parameters():
                parameter.lerp_(online[name].to(parameter.dtype), 1 - keep)
            buffers = dict(theirs.named_buffers())
            for name, buffer in mine.named_buffers():
                buffer.copy_(buffers[name])
