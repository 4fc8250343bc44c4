"""Masked language: a text tower's tokens say what is hidden behind the mask."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.covered import covered
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("masked_language", "mlm")
class MaskedLanguage(Objective):
    r"""Cross entropy of the hidden tokens of a caption, each read off the tower's token in its place.

        loss = -sum_i sum_(t hidden) log softmax(W norm(gelu(V x_it + b)) + c)[w_it] / number of hidden tokens,

    x_i the tower's tokens of the masked caption, w_i the ids of the whole one, modulo ``vocabulary``.  Hidden is where
    the two columns' ids differ: ``mask_tokens`` derives the masked one.

    Needs: the tokens and ids of ``masked``, the ids of ``text``.  The tower's tokens must stand in the places of its
    ids; a causal tower (``open_clip_text``) sees only what comes before a mask.
    Relations: BERT's pretraining without the next sentence; beside ``infonce``, the token term of FLAVA and DeCLIP.
    Source: Devlin et al. 2018 (BERT), arXiv:1810.04805, section 3.1; beside contrast: Li et al. 2021 (DeCLIP),
    arXiv:2110.05208.  W is learned apart from the tower's table of words, which hashed words have none of.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the objective."""

        text: str = "text"  # column of the whole captions
        masked: str = "text.masked"  # the same with tokens hidden; its tower must return tokens
        vocabulary: Count = 49408  # classes of tokens; open_clip's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

    read: nn.Sequential

    def attach(self, spaces: Spaces) -> None:
        """Build the projection to classes."""
        width = spaces.token_widths[self.config.masked.partition(".")[0]]
        self.read = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, self.config.vocabulary)
        )

    def needs(self) -> Needs:
        """Tokens of one column, ids of both."""
        columns = tuple(sorted((self.config.text, self.config.masked)))
        return Needs(embeddings=(), tokens=(self.config.masked,), inputs=columns)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over all ranks' hidden tokens, and the share of them that is found."""
        tokens = emb.tokens(self.config.masked)
        text, masked = emb.input(self.config.text), emb.input(self.config.masked)
        captions = covered(text, masked, vocabulary=self.config.vocabulary, longest=tokens.values.shape[1])
        length = captions.classes.shape[1]
        hidden = captions.hidden & tokens.real[captions.rows, :length]
        seen, classes = tokens.values[captions.rows, :length][hidden], captions.classes[hidden]
        weight = torch.ones(max(len(seen), 1), device=seen.device)
        if len(seen) == 0:  # one token that counts nothing: every rank takes the same way
            seen, classes, weight = tokens.values[:1, 0], captions.classes[0, :1], 0 * weight
        logits = self.read(seen.float())
        losses = cross_entropy(logits, classes, reduction="none")
        found = (logits.argmax(dim=1) == classes).float()
        return Terms(loss=comm.row_mean(losses, weight), scalars={"accuracy": comm.row_mean(found, weight).detach()})
