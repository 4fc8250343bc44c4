"""A caption of the row other than the one it is shown with."""

from __future__ import annotations

from typing import ClassVar

from mmcontrast.config import config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original


@DERIVATIONS.register("other_caption")
class OtherCaption(Derivation):
    """One of the row's other captions as it is stored, all alike likely; none where the row has no other."""

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "text"  # column whose captions they are

    def derive(self, original: Original, make_rng: MakeGenerator) -> str | None:
        """Draw the caption."""
        assert original.captions is not None, "text columns have captions"
        others = [text for text in original.captions.texts if text != original.value]
        return others[int(make_rng().integers(0, len(others)))] if others else None
