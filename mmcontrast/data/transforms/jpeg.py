"""JPEG bytes to a random view, without decoding pixels that the view does not need.

libjpeg can decode at 1/2, 1/4 or 1/8 of the size at a fraction of the cost; the smallest of these at which the crop is
still at least as large as the view is taken, and resized by torch's vectorised filter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mmcontrast.data.decode import decode_image, fits
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.image import ImageTransform, finish, random_box, train_image

JPEG_MAGIC = b"\xff\xd8\xff"


def is_jpeg(content: bytes) -> bool:
    """Whether bytes begin like a JPEG."""
    return content.startswith(JPEG_MAGIC)


def train_jpeg(
    content: bytes,
    config: ImageTransform,
    *,
    size: int,
    make_rng: Callable[[], np.random.Generator],
    key: str,
    limits: Limits | None = None,
) -> np.ndarray:
    """Return a random view as uint8 of shape (3, size, size): the same crop as the exact decoder's.

    Pictures that the fast decoder does not take (four inks, damage, a rotation before the crop) are decoded whole.

    Args:
        make_rng: returns the row's generator at its start.

    Raises:
        SkipSample: not a picture, damaged, or over a limit.
    """
    limits = limits or Limits()
    view = None
    if not config.rotate_degrees:
        view = _scaled_view(content, config, size=size, rng=make_rng(), limits=limits)
    if view is not None:
        return view
    return train_image(decode_image(content, key=key, limits=limits), config, size=size, rng=make_rng())


def _scaled_view(
    content: bytes, config: ImageTransform, *, size: int, rng: np.random.Generator, limits: Limits
) -> np.ndarray | None:
    import simplejpeg

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content)
        if colorspace not in ("YCbCr", "Gray", "RGB") or not fits(width, height, limits):
            return None  # the exact decoder converts, or refuses by name
        left, top, right, bottom = random_box(width, height, config, rng)
        smallest = min(right - left, bottom - top)
        factor = next(each for each in (8, 4, 2, 1) if smallest >= each * size or each == 1)
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
    box = pixels[
        first_row : max(round(bottom), first_row + 1), first_column : max(round(right), first_column + 1)
    ]  # (H, W, 3)
    view = torch.nn.functional.interpolate(
        torch.from_numpy(box).permute(2, 0, 1)[None], (size, size), mode="bicubic", antialias=True
    )
    return finish(view[0].numpy(), config, rng=rng)
