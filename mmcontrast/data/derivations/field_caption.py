"""A caption from another field of the row: negatives that a language model or a mining job wrote there."""

from __future__ import annotations

from typing import ClassVar

from mmcontrast.config import config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original
from mmcontrast.data.limits import Limits
from mmcontrast.data.transforms.captions import captions_of


@DERIVATIONS.register("field_caption")
class FieldCaption(Derivation):
    """One of the captions in a JSON field, a string or a list, all alike likely; none where the field is missing.

    Source: Patel et al. 2024, TripletCLIP, arXiv:2411.02545 (negatives written by a language model).
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    @config
    class Config:
        """Fields of the derivation."""

        field: str  # JSON field
        of: str = "text"  # column that the row must have

    def reads(self) -> tuple[str, ...]:
        """The field."""
        return (self.config.field,)

    def derive(self, original: Original, make_rng: MakeGenerator) -> str | None:
        """Draw one.

        Raises:
            SkipSample: the field holds no text.
        """
        value = original.fields.get(self.config.field)
        if value in (None, "", []):
            return None
        key = f"{original.key}, field '{self.config.field}'"
        texts = captions_of(value, key=key, max_bytes=Limits().caption_bytes)
        return texts[int(make_rng().integers(0, len(texts)))]
