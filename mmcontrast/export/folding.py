"""Heads as one affine map, multiplied into the last matrix of a tower: targets that know projections know no heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.export.part import Part


@dataclass(frozen=True)
class Affine:
    """``x @ weight.T + bias``."""

    weight: Float[Tensor, "D width"]
    bias: Float[Tensor, " D"] | None = None

    def after(self, weight: Float[Tensor, "width before"]) -> Float[Tensor, "D before"]:
        """One matrix for a layer with ``weight`` and then this map."""
        return self.weight @ weight


def affine_head(part: Part, modality: str) -> Affine | None:
    """The head as an affine map; None if it is none."""
    kind = part.head(modality).config.registry_name
    width, head = part.tower(modality).width, part.head(modality)
    if kind == "identity":
        return Affine(torch.eye(width))
    if kind == "linear":
        layer: Any = head.layer
        return Affine(layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
    return None


def general_refusals(part: Part) -> dict[str, str]:
    """What no target that compares by cosine, or that knows one projection, can hold."""
    if part.model.geometry.curved or part.config.geometry.registry_name != "sphere":
        return {"part": f"the geometry '{part.config.geometry.registry_name}' is no unit sphere."}
    return {
        modality: f"a '{part.head(modality).config.registry_name}' head is no single matrix."
        for modality in part.modalities
        if affine_head(part, modality) is None
    }


def biased(part: Part, modality: str) -> bool:
    """Whether the head adds a bias."""
    head = affine_head(part, modality)
    return head is not None and head.bias is not None
