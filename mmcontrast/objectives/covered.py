"""A caption's ids beside its masked ones: what is hidden, and where.

Letters: R rows with both, L ids of the longest caption.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmcontrast.types import Column


@dataclass(frozen=True)
class Covered:
    """Captions of the rows that have both columns; one row without a real id where there is none."""

    rows: Int[Tensor, " R"]  # their numbers
    classes: Int[Tensor, "R L"]  # of the ids beneath
    real: Bool[Tensor, "R L"]  # False at padding
    hidden: Bool[Tensor, "R L"]  # real, and another id in the masked column


def covered(text: Column, masked: Column, *, vocabulary: int, longest: int | None = None) -> Covered:
    """Compare two columns of ids.

    Args:
        vocabulary: ids are taken modulo this.
        longest: later ids are left out.
    """
    rows = (text.present & masked.present).nonzero().squeeze(1)
    if len(rows) == 0:  # one row of nothing keeps every rank on the same way through the weights
        nothing = torch.zeros(1, 1, dtype=torch.bool, device=rows.device)
        return Covered(rows.new_zeros(1), rows.new_zeros(1, 1), nothing, nothing)
    ids, seen = text.at(rows).values, masked.at(rows).values
    width = min(ids.shape[1], seen.shape[1], longest or ids.shape[1])
    ids, seen = ids[:, :width], seen[:, :width]
    # Id 0 is padding, and some tokenizers' word as well: what counts is the place of the last other id.
    place = torch.arange(1, width + 1, device=ids.device)
    real = place <= ((ids != 0) * place).amax(dim=1, keepdim=True)
    return Covered(rows, ids % vocabulary, real, real & (ids != seen))
