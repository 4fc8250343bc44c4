"""A bag of word n-grams: the baseline that knows no order beyond its n."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import pad

from mmcontrast.config import Count, OneOf, config
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.hashed_words import HashedWords
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower, layout_of
from mmcontrast.types import Features


@TOWERS.register("ngram_text")
class NgramText(Tower):
    """Mean of the embeddings of all n-grams up to length ``n``, then two layers.  With n = 1 it is a bag of words.

    Source: Joulin et al. 2016, arXiv:1607.01759 (hashed n-grams).
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "text"
        tokenizer: Annotated[Any, OneOf(TOKENIZERS)] = HashedWords.Config()
        context_length: Count = 32  # tokens
        n: Annotated[int, Ge(1), Le(4)] = 2  # longest n-gram
        width: Count = 256
        buckets: Count = 8192  # rows of the embedding table

        def input_spec(self) -> TextSpec:
            """Ids of the tokenizer."""
            return TextSpec(tokenizer=self.tokenizer, context_length=self.context_length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.table = nn.Embedding(config.buckets, config.width)
        nn.init.normal_(self.table.weight, std=0.1)
        self.layers = nn.Sequential(
            nn.LayerNorm(config.width), nn.Linear(config.width, config.width), nn.GELU(),
            nn.Linear(config.width, config.width),
        )  # fmt: skip
        self.width = config.width

    def forward(self, values: Int[Tensor, "B T"]) -> Features:
        """Encode ids; 0 is padding."""
        rows, tokens = values.shape
        grams, real = values, values != 0
        longer = pad(values, (0, self.config.n - 1))
        total = values.new_zeros(rows, self.width, dtype=torch.float32)
        count = values.new_zeros(rows, 1, dtype=torch.float32)
        for length in range(1, self.config.n + 1):
            if length > 1:  # extend each gram by the next word; Knuth's multiplier spreads the hash
                following = longer[:, length - 1 : length - 1 + tokens]
                grams = (grams * 2_654_435_761 + following) % (2**31 - 1)
                real = real & (following != 0)
            weight = real[:, :, None].float()
            total = total + (self.table((grams + length) % self.config.buckets) * weight).sum(dim=1)
            count = count + weight.sum(dim=1)
        return Features(self.layers(total / count.clamp_min(1)))

    def layout(self) -> Layout:
        """The table; no blocks; two layers."""
        return layout_of(self, embeddings=["table"], blocks=())
