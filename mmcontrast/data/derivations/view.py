"""A second random view of the same picture, sound or captions."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original


@DERIVATIONS.register("view")
class AnotherView(Derivation):
    """The source's own transform, drawn again: other crop and colours, other window, other caption."""

    @config
    class Config:
        """Fields of the derivation."""

        of: str  # column that it is a view of

    def derive(self, original: Original, make_rng: MakeGenerator) -> Any:
        """Draw the view."""
        return original.view(make_rng)
