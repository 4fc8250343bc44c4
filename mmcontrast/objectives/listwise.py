"""Listwise ranking: the similarities of a list's documents should order as their relevance does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import MASKED, Key, Temperature, Tile, compare
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("listwise", "listnet")
class Listwise(Objective):
    r"""Cross entropy between the top-one distributions of relevance and of similarity.

    A list is the rows that share a label: pairs of one query with its documents.  For each row's query q_i,

        loss_i = -sum_j P_j log softmax_j(s sim(q_i, d_j)),   P = softmax_j(r_j / t),

    over the rows j of its list; a list of one row counts nothing.

    Needs: query and document columns, the list and relevance labels.
    Source: Cao et al. 2007 (Learning to rank: from pairwise approach to listwise approach), top-one ListNet of
    section 4; the temperatures are ours.
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        document: str = "image"
        lists: str = "group"  # label of the list that a row belongs to; -1 is no list
        relevance: str = "relevance"  # label with each row's relevance to its list's query
        temperature: Temperature = 0.07  # start of the similarities' temperature
        learn_temperature: bool = True
        relevance_temperature: Positive = 1.0  # t: lower puts more weight on the most relevant
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if self.query == self.document:
                raise ValueError("query and document must be different columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The columns and labels."""
        config = self.config
        labels = tuple(sorted({config.lists, config.relevance}))
        return Needs(embeddings=tuple(sorted((config.query, config.document))), labels=labels)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows whose list has two or more documents."""
        query, document = emb[self.config.query], emb[self.config.document]
        relevance = comm.gather(emb.label(self.config.relevance).float()) / self.config.relevance_temperature
        scale = self.scale()

        def per_row(tile: Tile) -> Tensor:
            listed = (tile.positive & here[None, :]) | tile.alike
            target = relevance[None, :].expand_as(tile.similarity).masked_fill(~listed, MASKED).softmax(dim=1)
            found = (scale * tile.similarity).masked_fill(~listed, MASKED).log_softmax(dim=1)
            loss = -(target * found.masked_fill(~listed, 0.0)).sum(dim=1)
            several = (listed.sum(dim=1) > 1).to(loss.dtype)
            return torch.stack([loss * several, several], dim=1)

        here = comm.gather(document.present)
        rows = compare(query, [Key(document, "positive")], per_row, group=emb.label(self.config.lists))
        loss = comm.row_mean(rows[:, 0], rows[:, 1].detach() * query.present)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})
