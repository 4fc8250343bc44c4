"""A part of the picture, and where it lies in it: two views whose pixels can be told to be the same place."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from PIL import Image

from mmcontrast.config import Fraction, Positive, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original, Told
from mmcontrast.data.labels import Label
from mmcontrast.data.transforms.image import ImageTransform, finish, random_box

BOX_NUMBERS = 5  # left, top, width and height as shares of the outer view; 1.0 where mirrored


@DERIVATIONS.register("inner_crop")
class InnerCrop(Derivation):
    """Crop the view that ``of`` shows this time, with colours and a flip of its own; ``NAME.box`` tells where.

    Source: Xie et al. 2020, PixPro, arXiv:2011.10043, section 3.1, where both views are crops of one picture; here the
    second is one of the first.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "image"  # column that it is a part of
        scale: tuple[Positive, Positive] = (0.2, 1.0)  # share of the area
        flip: Fraction = 0.5  # probability of a mirror image
        color: Fraction = 0.4  # largest relative change of brightness, contrast and saturation
        grayscale: Fraction = 0.2  # probability of dropping colour

        def __post_init__(self) -> None:
            if not self.scale[0] <= self.scale[1] <= 1:
                raise ValueError("scale must be (low, high) with low <= high <= 1.")

    def labels(self) -> dict[str, Label]:
        """The place."""
        return {"box": Label(field="", kind="numbers", most=BOX_NUMBERS)}

    def derive(self, original: Original, make_rng: MakeGenerator) -> Told:
        """Draw the crop."""
        rng, size = make_rng(), original.value.shape[1]
        left, top, right, bottom = random_box(size, size, ImageTransform(scale=self.config.scale), rng)
        picture = Image.fromarray(np.ascontiguousarray(original.value.transpose(1, 2, 0)))
        picture = picture.resize((size, size), resample=Image.Resampling.BICUBIC, box=(left, top, right, bottom))
        mirrored = rng.random() < self.config.flip
        view = np.asarray(picture).transpose(2, 0, 1)[:, :, :: -1 if mirrored else 1]
        changes = ImageTransform(color=self.config.color, grayscale=self.config.grayscale)
        view = finish(np.ascontiguousarray(view), changes, rng=rng)
        box = [left / size, top / size, (right - left) / size, (bottom - top) / size, float(mirrored)]
        return Told(view, {"box": box})
