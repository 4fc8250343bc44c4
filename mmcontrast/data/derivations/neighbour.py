"""The picture, sound or caption of a row that is hard to tell from this one, as a mining job found it."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import Count, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original
from mmcontrast.errors import SkipSample


@DERIVATIONS.register("neighbour")
class Neighbour(Derivation):
    """A column of one of the rows whose keys a field lists, drawn among the first ``most``; none where there is none.

    All columns of a row show the same neighbour: ``image.near`` and ``text.near`` belong together.
    ``mmcontrast-data run negatives`` with ``mine`` writes the field, denoised.

    Source: Yuksekgonul et al. 2023, NegCLIP, arXiv:2210.01936, section 4 (a hard picture, drawn among the three
    nearest, with its caption).
    """

    @config
    class Config:
        """Fields of the derivation."""

        of: str  # column: image, audio or text
        field: str = "negatives_mined_keys"  # JSON field: keys of rows of the same set, nearest first
        most: Count = 3  # so many of them are drawn from

    def reads(self) -> tuple[str, ...]:
        """The field."""
        return (self.config.field,)

    def derive(self, original: Original, make_rng: MakeGenerator) -> Any | None:
        """Draw the row, the same for all columns, then its cell's view.

        Raises:
            SkipSample: the field is no list of keys.
        """
        keys = original.fields.get(self.config.field)
        if keys in (None, []):
            return None
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise SkipSample(f"{original.key}: field '{self.config.field}' is no list of keys", cause="json_field")
        assert original.row_rng is not None and original.elsewhere is not None, "sources give both"
        keys = keys[: self.config.most]
        drawn = int(original.row_rng("neighbour", self.config.field).integers(0, len(keys)))
        return original.elsewhere(keys[drawn], make_rng)
