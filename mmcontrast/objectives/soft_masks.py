"""Match a picture with its caption, also when what one of the words points at is dimmed: text-driven soft masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces, refuse_one_column
from mmcontrast.objectives.pairwise import MASKED, Key, Tile, compare
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("soft_masks", "image_text_matching", "itm")
class SoftMasks(Objective):
    r"""A fusion encoder says of a picture and a caption whether they belong together.

        loss_i = l(v_i, t_i) + l'(v_i, t_n(i)) + masked (l(m_i v_i, t_i) + l'(m_i v_i, t_n(i))),
        l = log(1 + e^-s),  l' = log(1 + e^s),  divided by the number of its terms,

    s(v, t) the logit of a cross-attention layer in which the tokens t of a caption read the tokens v of a picture, and
    n(i) the caption of another row (and group) that is nearest to the picture's embedding.  The mask is a word's
    Grad-CAM,

        m_is = 1 - g_iws / max_s g_iws,   g_iws = mean over heads of A_hws relu(d s(v_i, t_i) / d A_hws),

    A the attention of word w to token s: the word is drawn in training; in evaluation g is the mean over words.  No
    gradient passes through the mask.

    Needs: the tokens and embeddings of both columns; the ``group`` label if one is named.
    Relations: ``masked`` 0 is ALBEF's matching term.  Beside ``focal`` it is the paper's pretraining without the
    masked-language term, which is ``masked_language``.
    Source: Park and Han 2023, arXiv:2304.00719, section 4.1; matching: Li et al. 2021 (ALBEF), arXiv:2107.07651.
    Theirs is six layers of BERT, negatives are drawn by similarity and on both sides; here it is one layer, and the
    nearest caption is the negative.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "text")  # what is looked at, and what reads it; towers that return tokens
        width: Count = 256  # of the fusion encoder
        heads: Count = 4
        masked: NonNegative = 1.0  # factor of the two terms with a mask
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

        def __post_init__(self) -> None:
            refuse_one_column(self.pair)
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads}.")

    match: Matching

    def attach(self, spaces: Spaces) -> None:
        """Build the fusion encoder."""
        seen, read = (spaces.token_widths[name.partition(".")[0]] for name in self.config.pair)
        self.match = Matching(seen, read, width=self.config.width, heads=self.config.heads)

    def needs(self) -> Needs:
        """Tokens and embeddings of the pair."""
        pair = tuple(sorted(self.config.pair))
        return Needs(embeddings=pair, tokens=pair, labels=(self.config.group,) if self.config.group else ())

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with both columns, and the shares of pairs that are judged rightly."""
        first, second = self.config.pair
        seen, read = emb.tokens(first), emb.tokens(second)
        values = self.match.bring_seen(seen.values.float())
        caption = _Words(self.match.bring_read(read.values.float()), read.real)
        group = emb.label(self.config.group) if self.config.group else None
        nearest, found = _nearest(emb[first], emb[second], group)
        wrong = caption.of_all_ranks().at(nearest)
        mask = self._mask(values, seen.real, caption)
        terms, weights = [], []
        for factor, picture in ((1.0, values), (self.config.masked, values * mask[:, :, None])):
            right, not_right = (self.match(picture, seen.real, words) for words in (caption, wrong))
            terms += [softplus(-right), softplus(not_right)]
            weights += [torch.full_like(found, factor), factor * found]
        total = sum((weight * term for weight, term in zip(weights, terms, strict=True)), torch.zeros_like(found))
        rows = total / torch.stack(weights).sum(dim=0)
        both = (emb[first].present & emb[second].present).float()
        sure = [(term.detach() < math.log(2)).float() for term in terms[:2]]
        scalars = {
            "matches_found": comm.row_mean(sure[0], both),
            "negatives_found": comm.row_mean(sure[1], both * found),
        }
        return Terms(loss=comm.row_mean(rows, both), scalars=scalars)

    def _mask(self, values: Tensor, real: Tensor, caption: _Words) -> Float[Tensor, "B S"]:
        """One where nothing is dimmed, zero where the word looks most."""
        cam = self.match.relevance(values.detach(), real, _Words(caption.values.detach(), caption.real))  # (B, T, S)
        if self.training:
            chance = torch.rand(caption.real.shape, device=cam.device) * caption.real
            word = chance.argmax(dim=1)
            cam = cam[torch.arange(len(cam), device=cam.device), word]
        else:
            cam = cam.sum(dim=1) / caption.real.sum(dim=1).clamp_min(1)[:, None]
        return 1 - cam / cam.amax(dim=1, keepdim=True).clamp_min(1e-12)


@dataclass(frozen=True)
class _Words:
    """Tokens of captions."""

    values: Float[Tensor, "B T width"]
    real: Bool[Tensor, "B T"]

    def of_all_ranks(self) -> _Words:
        """Every rank's captions, padded to the longest, with gradient."""
        more = max(comm.gather_objects(self.values.shape[1])) - self.values.shape[1]
        return _Words(comm.gather(pad(self.values, (0, 0, 0, more))), comm.gather(pad(self.real, (0, more))))

    def at(self, rows: Tensor) -> _Words:
        """Some rows."""
        return _Words(self.values[rows], self.real[rows])


def _nearest(query: Embedded, key: Embedded, group: Tensor | None) -> tuple[Tensor, Tensor]:
    """Each row's nearest key of another row and group, among all ranks', and 1.0 where there is one."""

    def per_row(tile: Tile) -> Tensor:
        nearest = tile.similarity.masked_fill(~tile.negative, MASKED).argmax(dim=1)
        return torch.stack([nearest.double(), tile.negative.any(dim=1).double()], dim=1)

    query, key = (Embedded(each.z.detach(), each.present) for each in (query, key))
    found = compare(query, [Key(key, "positive")], per_row, group=group)
    return found[:, 0].long(), found[:, 1].float()


class Matching(nn.Module):
    """One layer of cross attention and an MLP, both with shortcuts, and a logit of their mean over words."""

    def __init__(self, seen: int, read: int, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.bring_seen, self.bring_read = nn.Linear(seen, width), nn.Linear(read, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.score = nn.Linear(width, 1)

    def forward(self, values: Float[Tensor, "B S width"], real: Bool[Tensor, "B S"], words: _Words) -> Tensor:
        """Logits (B,) of belonging together."""
        return self._judged(self._attention(values, real, words), values, words)

    def relevance(
        self, values: Float[Tensor, "B S width"], real: Bool[Tensor, "B S"], words: _Words
    ) -> Float[Tensor, "B T S"]:
        """Grad-CAM of each word: attention times what it adds to the logit, where that is positive."""
        with torch.enable_grad():
            attention = self._attention(values, real, words).detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._judged(attention, values, words).sum(), attention)
        return (attention.detach() * slope.relu()).mean(dim=1) * words.real[:, :, None]

    def _attention(self, values: Tensor, real: Tensor, words: _Words) -> Float[Tensor, "B heads T S"]:
        query, key = self._split(self.query(words.values)), self._split(self.key(values))
        logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        real = real | ~real.any(dim=1, keepdim=True)  # a row of nothing reads nothing's zeros
        return logits.masked_fill(~real[:, None, None, :], -torch.inf).softmax(dim=-1)

    def _judged(self, attention: Tensor, values: Tensor, words: _Words) -> Float[Tensor, " B"]:
        mixed = (attention @ self._split(self.value(values))).transpose(1, 2).flatten(2)
        x = words.values + self.out(mixed)
        x = x + self.mlp(self.norm(x))
        weight = words.real[:, :, None].to(x.dtype)
        pooled = (x * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        return self.score(pooled).squeeze(1)

    def _split(self, x: Tensor) -> Float[Tensor, "B heads T each"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
