"""JPEG bytes to a random view, without decoding pixels that the view does not need.

libjpeg can decode at 1/2, 1/4 or 1/8 of the size at a fraction of the cost; the smallest of these at which the crop is
still at least as large as the view is taken, and resized by torch's vectorised filter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8

from mmcontrast.data.canvas import Canvas
from mmcontrast.data.decode import decode_image, fits
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.image import ImageTransform, Size, finish, random_box, train_image, view_shape
from mmcontrast.specs import PatchSequence

JPEG_MAGIC = b"\xff\xd8\xff"


def is_jpeg(content: bytes) -> bool:
    """Whether bytes begin like a JPEG."""
    return content.startswith(JPEG_MAGIC)


def train_jpeg(
    content: bytes,
    config: ImageTransform,
    *,
    size: Size,
    make_rng: Callable[[], np.random.Generator],
    key: str,
    limits: Limits | None = None,
    canvas: Canvas | None = None,
) -> np.ndarray:
    """Return a random view as :func:`train_image` does, of the same crop.

    Pictures that the fast decoder does not take (four inks, damage, a rotation before the crop) are decoded whole.

    Args:
        make_rng: returns the row's generator at its start.
        canvas: where the view may be written.

    Raises:
        SkipSample: not a picture, damaged, or over a limit.
    """
    limits = limits or Limits()
    view = None
    if not config.rotate_degrees:
        view = _scaled_view(content, config, size=size, rng=make_rng(), limits=limits, canvas=canvas)
    if view is not None:
        return view
    return train_image(decode_image(content, key=key, limits=limits), config, size=size, rng=make_rng())


def _scaled_view(
    content: bytes,
    config: ImageTransform,
    *,
    size: Size,
    rng: np.random.Generator,
    limits: Limits,
    canvas: Canvas | None,
) -> np.ndarray | None:
    import simplejpeg

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content)
        if colorspace not in ("YCbCr", "Gray", "RGB") or not fits(width, height, limits):
            return None  # the exact decoder converts, or refuses by name
        box = random_box(width, height, config, rng, keep_shape=isinstance(size, PatchSequence))
        left, top, right, bottom = box
        shape = view_shape(box, size)
        spare = min((bottom - top) / shape[0], (right - left) / shape[1])
        factor = next(each for each in (8, 4, 2, 1) if spare >= each or each == 1)
        pixels = simplejpeg.decode_jpeg(
            content,
            fastdct=config.decode == "fast",
            fastupsample=config.decode == "fast",
            min_height=-(-height // factor),
            min_width=-(-width // factor),
            min_factor=factor,
        )
    except ValueError:  # damaged, or of a kind that libjpeg-turbo does not know: the exact decoder says which
        return None
    left, right = (side * pixels.shape[1] / width for side in (left, right))
    top, bottom = (side * pixels.shape[0] / height for side in (top, bottom))
    first_row, first_column = round(top), round(left)
    crop = pixels[first_row : max(round(bottom), first_row + 1), first_column : max(round(right), first_column + 1)]
    if canvas is not None and isinstance(size, int):
        place = canvas.place(size)
    else:
        place = np.empty((*shape, 3), np.uint8)
    resize_into(place, crop)
    return finish(place.transpose(2, 0, 1), config, rng=rng)


def resize_into(place: UInt8[np.ndarray, "height width 3"], pixels: UInt8[np.ndarray, "H W 3"]) -> None:
    """Resize with torch's vectorised bicubic filter, which stretches over what it shrinks.

    Relations: ``torch.nn.functional.interpolate(mode="bicubic", antialias=True)``, which has no ``out``.
    """
    # Strides of a channels-last batch: the filter then neither unpacks nor packs.
    batch = torch.from_numpy(np.ascontiguousarray(pixels)[None]).permute(0, 3, 1, 2)
    out = torch.from_numpy(place[None]).permute(0, 3, 1, 2)
    torch.ops.aten._upsample_bicubic2d_aa.out(batch, list(place.shape[:2]), False, None, None, out=out)
