"""The picture with some of its squares gray, as masked image models read it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Lt

from mmcontrast.config import Count, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original
from mmcontrast.errors import ConfigError
from mmcontrast.specs import ImageSpec, InputSpec

GRAY = 127


@DERIVATIONS.register("mask_patches")
class MaskPatches(Derivation):
    """Cover a share of the squares of a grid; the view beneath is the one that ``of`` shows this time.

    Source: Xie et al. 2021 (SimMIM), arXiv:2111.09886, section 3.2, whose share of 0.6 is in squares of 32 pixels;
    gray stands for their learned token, so that any tower can read it.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "image"  # column whose view it is
        patch: Count = 16  # pixels a side
        share: Annotated[float, Gt(0), Lt(1)] = 0.6  # of the squares; at least one is covered

    def check_spec(self, spec: InputSpec) -> None:
        """Squares fill the picture."""
        assert isinstance(spec, ImageSpec)
        if spec.size % self.config.patch:
            raise ConfigError(f"patch: pictures of {spec.size} pixels are not made of squares of {self.config.patch}.")

    def derive(self, original: Original, make_rng: MakeGenerator) -> np.ndarray:
        """Draw which."""
        side = original.value.shape[1] // self.config.patch
        count = max(1, round(self.config.share * side * side))
        covered = np.zeros(side * side, dtype=bool)
        covered[make_rng().permutation(side * side)[:count]] = True
        mask = covered.reshape(side, side).repeat(self.config.patch, axis=0).repeat(self.config.patch, axis=1)
        return np.where(mask, np.uint8(GRAY), original.value)
