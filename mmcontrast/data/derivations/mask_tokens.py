"""The caption with some of its tokens hidden, as masked language models read it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from mmcontrast.config import Fraction, config
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Derivation, MakeGenerator, Original
from mmcontrast.specs import InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.masking import MaskedText


@DERIVATIONS.register("mask_tokens")
class MaskTokens(Derivation):
    """Hide a share of the tokens, one or more, behind the tokenizer's mask; a few of them behind other tokens.

    The caption is the one that ``of`` shows this time, so that its ids and these stand side by side.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1: of 15% of the tokens, 80% are masked, 10% are other
    tokens, and 10% stay as they are.  Those that stay are left out here, for nothing tells them from the rest.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    @config
    class Config:
        """Fields of the derivation."""

        of: str = "text"  # column whose caption it is
        share: Annotated[float, Gt(0), Le(1)] = 0.15  # of the tokens; BERT's (DiffCSE: 0.3)
        other: Fraction = 1 / 9  # share of those behind another token in the mask's place; BERT's without what stays

    def check_spec(self, spec: InputSpec) -> None:
        """The tokenizer needs something to hide tokens behind."""
        assert isinstance(spec, TextSpec)
        TOKENIZERS.build(spec.tokenizer).masking()

    def derive(self, original: Original, make_rng: MakeGenerator) -> MaskedText:
        """Draw which; the tokenizer comes later."""
        seed = int(make_rng().integers(0, 2**63))
        return MaskedText(str(original.value), seed, self.config.share, self.config.other)
