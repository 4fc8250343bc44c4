"""ESimCSE: SimCSE whose positive has words repeated, with a queue of a momentum copy's sentences as negatives."""

from __future__ import annotations

from typing import Any

import torch

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.key_queue import KeyQueue, too_small
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, log_sum_exp, pair_needs, picked
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("esimcse")
class ESimCSE(Objective):
    r"""One-directional in-batch contrast of sentences, with those of past batches beside them.

        loss_i = -log( e^{s sim(h_i, h+_i)} / (sum_j e^{s sim(h_i, h+_j)} + sum_q e^{s sim(h_i, m_q)}) ),

    h+ the sentence with some words twice (a column that ``repeat_words`` derives), so that lengths say nothing; m the
    momentum copy's embeddings of past batches' h+.

    Needs: the two columns, the positive by the momentum copy too; the ``group`` label if one is named.
    Relations: with an empty queue it is ``simcse``.
    Source: Wu et al. 2021, arXiv:2109.04380; their queue holds 2.5 batches.
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        positive: str = "text.repeated"
        queue: Count = 1024  # sentences kept
        temperature: Temperature = 0.05  # SimCSE's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

        def __post_init__(self) -> None:
            if self.query == self.positive:
                raise ValueError("query and positive must be different columns.")

    queue: KeyQueue

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=False)

    def attach(self, spaces: Spaces) -> None:
        """Build the queue at the embedding's width."""
        self.queue = KeyQueue(size=self.config.queue, dim=spaces.dim)

    def needs(self) -> Needs:
        """Both sentences, and the positive by the momentum copy."""
        columns = (self.config.query, self.config.positive)
        return pair_needs(columns, self.config.group) | Needs(embeddings=(), momentum=(self.config.positive,))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with both sentences."""
        query, positive = emb[self.config.query], emb[self.config.positive]
        group = emb.label(self.config.group) if self.config.group else None
        scale, z = self.scale(), query.z.float()

        def per_row(tile: Tile) -> torch.Tensor:
            allowed = self.queue.allowed(None if group is None else group[tile.rows])
            past = scale * (z[tile.rows] @ self.queue.z.T)
            logits = scale * tile.similarity
            found = picked(logits, tile.positive)
            others = torch.cat([logits, past], dim=1)
            negative = torch.cat([tile.negative, allowed.expand_as(past)], dim=1)
            return torch.logaddexp(found, log_sum_exp(others, negative)) - found

        rows = compare(query, [Key(positive, "positive")], per_row, group=group, beside=self.config.queue)
        return Terms(loss=comm.row_mean(rows, (query.present & positive.present).float()))

    def after_step(self, emb: Embeddings) -> None:
        """Put this update's sentences into the queue."""
        group = emb.label(self.config.group) if self.config.group else None
        self.queue.push(emb.momentum(self.config.positive), group)

    def problems(self, batch_rows: int) -> list[str]:
        """A queue smaller than one batch."""
        return too_small("esimcse", self.config.queue, batch_rows)
