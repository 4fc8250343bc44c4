"""PIL pictures to uint8 arrays of a tower's size, with random crops and colours in training."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from PIL import Image, ImageEnhance

from mmcontrast.config import Fraction, NonNegative, Positive, config
from mmcontrast.data.transforms.policy import Policy, apply_policy, erase
from mmcontrast.data.transforms.sequence import fitted_shape
from mmcontrast.specs import PatchSequence


@config
class ImageTransform:
    """Random resized crop, flip and colour changes.  Evaluation uses resize and centre crop alone."""

    scale: tuple[Positive, Positive] = (0.9, 1.0)  # share of the area that a crop keeps (open_clip's default)
    ratio: tuple[Positive, Positive] = (
        0.75,
        1.3333,
    )  # width / height of a crop; of patches, over the picture's
    flip: Fraction = 0.0  # probability of a mirror image
    rotate_degrees: Annotated[float, Ge(0), Le(180)] = 0.0  # largest rotation to either side
    color: NonNegative = 0.0  # largest relative change of brightness, contrast and saturation
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0  # largest shift of hue, in turns
    grayscale: Fraction = 0.0  # probability of dropping colour
    policy: Policy | None = None  # torchvision's, after the colours
    erase: Fraction = 0.0  # probability of noise in a rectangle of 2 to 33% of the view
    decode: Literal["scaled", "fast", "exact"] = "scaled"  # JPEG at 1/2 to 1/8 where the crop allows; or all, by PIL

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1] or self.scale[1] > 1:
            raise ValueError("scale must be (low, high) with low <= high <= 1.")


Size = int | PatchSequence  # a square of so many pixels, or what fits a budget of patches


def train_image(image: Image.Image, config: ImageTransform, *, size: Size, rng: np.random.Generator) -> np.ndarray:
    """Return a random view as uint8 of shape (3, size, size), or (3, H, W) of whole patches."""
    if config.rotate_degrees:
        angle = rng.uniform(-config.rotate_degrees, config.rotate_degrees)
        image = image.rotate(angle, resample=Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
    box = random_box(image.width, image.height, config, rng, keep_shape=isinstance(size, PatchSequence))
    height, width = view_shape(box, size)
    image = image.resize((width, height), resample=Image.Resampling.BICUBIC, box=box)
    return finish(to_array(image), config, rng=rng)


def view_shape(box: tuple[float, float, float, float], size: Size) -> tuple[int, int]:
    """Height and width that a crop is resized to."""
    if isinstance(size, int):
        return size, size
    left, top, right, bottom = box
    return fitted_shape(bottom - top, right - left, patch=size.patch, tokens=size.tokens)


def finish(view: np.ndarray, config: ImageTransform, *, rng: np.random.Generator) -> np.ndarray:
    """Flip and change the colours of a cropped and resized view, uint8 of shape (3, S, S); then policy and erasing.

    Its bytes may lie pixel by pixel, or colour by colour.
    """
    if rng.random() < config.flip:
        view = view[:, :, ::-1].copy(order="K")
    view = _with_colors(view, config, rng)
    if config.policy is not None and rng.random() < config.policy.probability:
        view = apply_policy(view, config.policy, rng)
    if config.erase and rng.random() < config.erase:
        view = erase(view, rng)
    return view


def _with_colors(view: np.ndarray, config: ImageTransform, rng: np.random.Generator) -> np.ndarray:
    gray = rng.random() if not (config.color or config.hue) else None
    if gray is not None and gray >= config.grayscale:
        return view
    image = Image.fromarray(np.ascontiguousarray(view.transpose(1, 2, 0)))
    if config.color:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(max(0.0, 1 + rng.uniform(-config.color, config.color)))
    if config.hue:
        hue, saturation, value = image.convert("HSV").split()
        shift = round(rng.uniform(-config.hue, config.hue) * 255)
        turned = Image.fromarray(((np.asarray(hue).astype(np.int16) + shift) % 256).astype(np.uint8))
        image = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    if (rng.random() if gray is None else gray) < config.grayscale:
        image = image.convert("L").convert("RGB")
    return to_array(image)


def eval_image(image: Image.Image, *, size: int) -> np.ndarray:
    """Return the picture's centre square, resized, as uint8 of shape (3, size, size)."""
    side = min(image.width, image.height)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return to_array(image.resize((size, size), resample=Image.Resampling.BICUBIC, box=box))


def to_array(image: Image.Image) -> np.ndarray:
    """Return RGB pixels as uint8 of shape (3, H, W)."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def random_box(
    width: int, height: int, config: ImageTransform, rng: np.random.Generator, *, keep_shape: bool = False
) -> tuple[float, float, float, float]:
    """Crop box as in torchvision's RandomResizedCrop: ten tries, then the whole picture's centre.

    Args:
        keep_shape: ``config.ratio`` is relative to the picture's own; then the last resort is all of it.
    """
    smallest, narrowest = config.scale[0], math.log(config.ratio[0])
    scales, ratios = config.scale[1] - smallest, math.log(config.ratio[1]) - narrowest
    own = width / height if keep_shape else 1.0
    for _ in range(10):
        # What rng.uniform(low, high) gives, to the bit, at a tenth of its time.
        area = width * height * (smallest + scales * rng.random())
        ratio = own * math.exp(narrowest + ratios * rng.random())
        crop_width, crop_height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if crop_width <= width and crop_height <= height:
            left, top = (width - crop_width) * rng.random(), (height - crop_height) * rng.random()
            return (left, top, left + crop_width, top + crop_height)
    if keep_shape:
        return (0, 0, width, height)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)
