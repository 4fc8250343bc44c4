"""A crop of a small part of the picture, as self-distillation and swapped assignments compare with whole views."""

from __future__ import annotations

from typing import Any, ClassVar

from mmcontrast.config import Positive, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original


@DERIVATIONS.register("local_crop")
class LocalCrop(Derivation):
    """The source's transform with a smaller crop, resized to the tower's size.

    Source: Caron et al. 2020, SwAV, arXiv:2006.09882, multi-crop of section 3.4, whose small crops are also resized to
    fewer pixels; a tower here reads one size.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "image"  # column that it is a crop of
        scale: tuple[Positive, Positive] = (0.05, 0.14)  # share of the area; the paper's

        def __post_init__(self) -> None:
            if not self.scale[0] <= self.scale[1] <= 1:
                raise ValueError("scale must be (low, high) with low <= high <= 1.")

    def derive(self, original: Original, make_rng: MakeGenerator) -> Any:
        """Draw the crop."""
        return original.view(make_rng, scale=self.config.scale)
