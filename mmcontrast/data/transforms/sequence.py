"""Pictures of any shape as sequences of patches: the shape is kept, the number of patches is bounded.

Letters: N patches of one picture, V bytes of a patch (rows x columns x colours).

Source: Dehghani et al. 2023, NaViT, arXiv:2307.06304; Tschannen et al. 2025, SigLIP 2, arXiv:2502.14786, section 2.4.2
(NaFlex).  The picture's new size is the one of timm's ``get_image_size_for_seq``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from mmcontrast.specs import PatchSequence

LARGEST_SCALE = 100.0
CLOSE = 1e-5  # to which the scale is found


@dataclass(frozen=True)
class Patches:
    """One picture."""

    bytes: UInt8[np.ndarray, "N V"]  # row by row
    places: Int[np.ndarray, "N 2"]  # row and column of each patch


def fitted_shape(height: float, width: float, *, patch: int, tokens: int) -> tuple[int, int]:
    """The largest (height, width) in whole patches that keeps a picture's shape and needs at most ``tokens`` of them.

    Sides are rounded up to whole patches; a side has one at least, so a very long picture is squeezed.
    """

    def grid(scale: float) -> tuple[int, int]:
        return max(1, math.ceil(height * scale / patch)), max(1, math.ceil(width * scale / patch))

    low, high = CLOSE / 10, LARGEST_SCALE
    while high - low >= CLOSE:
        middle = (low + high) / 2
        rows, columns = grid(middle)
        low, high = (middle, high) if rows * columns <= tokens else (low, middle)
    rows, columns = grid(low)
    return rows * patch, columns * patch


def cut(view: UInt8[np.ndarray, "3 H W"], patch: int) -> Patches:
    """Cut a picture of whole patches."""
    _, height, width = view.shape
    rows, columns = height // patch, width // patch
    cells = view.transpose(1, 2, 0).reshape(rows, patch, columns, patch, 3).transpose(0, 2, 1, 3, 4)
    places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return Patches(cells.reshape(rows * columns, -1), places)


def eval_patches(image: Image.Image, spec: PatchSequence) -> Patches:
    """A whole picture at ``spec.tokens`` patches."""
    height, width = fitted_shape(image.height, image.width, patch=spec.patch, tokens=spec.tokens)
    resized = image.resize((width, height), resample=Image.Resampling.BICUBIC)
    return cut(np.asarray(resized).transpose(2, 0, 1), spec.patch)


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def padded(
    pictures: Sequence[Patches],
    spec: PatchSequence,
    *,
    empty: Callable[[tuple[int, ...], torch.dtype], Tensor] = _empty,
) -> dict[str, Tensor]:
    """A batch of P pictures, padded with zeros to T = ``spec.tokens`` patches.

    Args:
        empty: takes the memory of a shape and a type.

    Returns:
        ``patches`` uint8 (P, T, V), ``places`` int64 (P, T, 2), ``real`` bool (P, T).
    """
    rows, tokens = len(pictures), spec.tokens
    patches = empty((rows, tokens, 3 * spec.patch**2), torch.uint8)
    places = torch.zeros(rows, tokens, 2, dtype=torch.int64)
    real = torch.zeros(rows, tokens, dtype=torch.bool)
    for row, picture in enumerate(pictures):
        count = len(picture.bytes)
        patches[row, :count] = torch.from_numpy(picture.bytes)
        patches[row, count:] = 0
        places[row, :count] = torch.from_numpy(picture.places)
        real[row, :count] = True
    return {"patches": patches, "places": places, "real": real}
