"""A small text transformer over hashed words."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from mmcontrast.config import Count, OneOf, Positive, config
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.hashed_words import HashedWords
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower, layout_of
from mmcontrast.towers.prompts import ReadsPrompts
from mmcontrast.types import Features


class HashEmbedding(nn.Module):
    """Sum of several rows of one table, chosen by different hashes of an id: collisions come apart.

    Source: Svenstrup et al. 2017, arXiv:1709.03933, without the learned importance weights.
    """

    # Odd multipliers of Knuth's multiplicative hashing, one a lookup.
    _MULTIPLIERS = (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263)

    def __init__(self, *, buckets: int, lookups: int, width: int, gain: float, std: float) -> None:
        """Draw the table.

        Args:
            gain: factor of what is looked up.  Adam moves a weight by about the learning rate whatever its gradient,
                and a short run meets a rare word a few dozen times: the gain lets its vector go further in them.
            std: deviation of an untrained word's vector, after the gain.
        """
        super().__init__()
        assert 1 <= lookups <= len(self._MULTIPLIERS)
        self.buckets, self.lookups, self.gain = buckets, lookups, gain
        self.table = nn.Embedding(buckets, width)
        nn.init.normal_(self.table.weight, std=std / gain / lookups**0.5)

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T width"]:
        """Embed 31-bit ids."""
        rows = [((ids * factor) % (2**31 - 1)) % self.buckets for factor in self._MULTIPLIERS[: self.lookups]]
        return self.gain * self.table(torch.stack(rows)).sum(dim=0)


@TOWERS.register("text_transformer")
class TextTransformer(Tower, ReadsPrompts):
    """Pre-norm transformer; bidirectional over the real tokens; pooled by their mean.

    Padding is masked, so any amount of it on the right changes nothing.
    """

    @config
    class Config:
        """Fields of the tower; the defaults hold 1.7M parameters."""

        modality: ClassVar[str] = "text"
        tokenizer: Annotated[Any, OneOf(TOKENIZERS)] = HashedWords.Config()
        context_length: Count = 32  # tokens
        width: Count = 192
        layers: Count = 2
        heads: Count = 4
        buckets: Count = 4096  # rows of the embedding table
        lookups: Annotated[int, Ge(1), Lt(5)] = 2  # rows summed for each word
        embedding_gain: Positive = 1.0  # factor of a word's vector; its learning rate is larger by as much
        embedding_std: Positive = 0.42  # deviation of an untrained word's vector
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

        def __post_init__(self) -> None:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads}.")

        def input_spec(self) -> TextSpec:
            """Ids of the tokenizer."""
            return TextSpec(tokenizer=self.tokenizer, context_length=self.context_length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embed = HashEmbedding(
            buckets=config.buckets,
            lookups=config.lookups,
            width=config.width,
            gain=config.embedding_gain,
            std=config.embedding_std,
        )
        self.positions = nn.Parameter(0.1 * torch.randn(config.context_length, config.width))
        self.layers = nn.ModuleList(
            Layer(config.width, heads=config.heads, dropout=config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.width = config.width

    def forward(self, values: Int[Tensor, "B T"]) -> Features:
        """Encode ids; 0 is padding."""
        return self._encoded(self.words(values), values != 0)

    def words(self, values: Int[Tensor, "B T"]) -> Float[Tensor, "B T width"]:
        """Each word's vector plus its place's."""
        x: Tensor = self.embed(values) + self.positions[: values.shape[1]]
        return x

    def prompted(self, values: Int[Tensor, "B T"], prompts: Float[Tensor, "B K width"]) -> Features:
        """Encode ids after vectors, which count in the mean as words do."""
        real = pad(values != 0, (prompts.shape[1], 0), value=True)
        return self._encoded(torch.cat([prompts, self.words(values)], dim=1), real)

    def _encoded(self, x: Float[Tensor, "B T width"], real: Bool[Tensor, "B T"]) -> Features:
        x = self.norm(self.through(self.layers, x, real))
        weight = real[:, :, None].to(x.dtype)
        pooled = (x * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        return Features(pooled, x, real)

    def layout(self) -> Layout:
        """Words and places; layers; the last norm."""
        blocks = [[f"layers.{number}"] for number in range(len(self.layers))]
        return layout_of(self, embeddings=["embed", "positions"], blocks=blocks)


class Layer(nn.Module):
    """Attention and a four-fold MLP, each after a layer norm."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T width"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B T width"]:
        """Mix tokens, then channels; queries see real tokens alone."""
        rows, tokens, width = x.shape
        parts = self.mixed(self.norm1(x)).view(rows, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # A row of padding alone (an absent cell) sees itself rather than nothing: softmax over nothing is NaN.
        seen = real | ~real.any(dim=1, keepdim=True)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(rows, tokens, width)))
        return x + self.dropout(self.mlp(self.norm2(x)))
