"""Pictures, sounds and captions as the tensors that graphs take, one batch of unequal items after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.data.collate import pad_ids
from mmcontrast.export.base import Reader
from mmcontrast.export.part import Part
from mmcontrast.specs import AudioSpec, ImageSpec
from mmcontrast.tokenizers import TOKENIZERS


def raw_reader(part: Part, modality: str, run: Callable[[Tensor], Tensor]) -> Reader:
    """A reader over a graph: items of equal shape go through it in one call, in their places."""
    stack = stacker(part, modality)

    def read(items: Sequence[Any]) -> Tensor:
        groups: dict[Any, list[int]] = {}
        for place, item in enumerate(items):
            groups.setdefault(shape_of(item), []).append(place)
        found: dict[int, Tensor] = {}
        for places in groups.values():
            found |= dict(zip(places, run(stack([items[place] for place in places])), strict=True))
        return torch.stack([found[place] for place in range(len(items))])

    return read


def shape_of(item: Any) -> Any:
    """What must be equal for two items to go into one tensor; captions are padded, so nothing."""
    if isinstance(item, str):
        return None
    return len(item) if isinstance(item, np.ndarray) else item.size


def stacker(part: Part, modality: str) -> Callable[[Sequence[Any]], Tensor]:
    """Turns items of equal shape into one tensor."""
    spec = part.spec(modality)
    if isinstance(spec, ImageSpec):
        return lambda items: torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in items])
    if isinstance(spec, AudioSpec):
        return lambda items: torch.from_numpy(np.stack(items))
    encode = TOKENIZERS.build(spec.tokenizer).encode
    length = spec.context_length
    return lambda items: torch.stack(pad_ids([encode(each, context_length=length) for each in items]))
