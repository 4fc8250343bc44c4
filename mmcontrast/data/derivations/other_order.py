"""What a row was put together of, in another order: the hardest negative of a sequence or a scene."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original


@DERIVATIONS.register("other_order")
class OtherOrder(Derivation):
    """The sound, picture or caption of a row that ``splice`` or ``scene`` joined, in another order; else none.

    All columns of a row show the same other order, so that ``audio.X`` fits ``text.X``.

    Source: Bagad et al. 2023, Test of Time (TACT), arXiv:2301.02074 (time-reversed pairs); Ghosh et al. 2024, CompA,
    arXiv:2310.08753 (reversed and overlapping sounds as negatives).
    """

    @config
    class Config:
        """Fields of the derivation."""

        of: str  # column: image, audio or text

    def derive(self, original: Original, make_rng: MakeGenerator) -> Any | None:
        """Draw a view of it."""
        return None if original.other_view is None else original.other_view(make_rng)
