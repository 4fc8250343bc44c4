"""Supervised contrast: rows of one class find each other, within a modality or across."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.pairwise import MASKED, Key, Temperature, Tile, compare, pair_needs
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("supcon", "unicl", "multi_positive")
class SupCon(Objective):
    r"""Every cell of the row's class is a positive.

        loss_q = -1 / |P(q)| sum_{p in P(q)} log( e^{s sim(q, p)} / sum_{k in A(q)} e^{s sim(q, k)} ),

    over queries q (each present cell of each column), keys A(q) and positives P(q): keys of the query's row or class.
    ``keys: across`` compares with the other columns only (cross-modal); ``all`` with every other cell.  A query
    without a positive counts nothing.  ``balanced`` gives each class one vote in the denominator: the sum over its
    keys is divided by their number, so that frequent classes do not crowd out rare ones.

    Needs: the columns and the class label (a negative class is its row alone).
    Relations: ``all`` over the views of one modality is SupCon; ``across`` over image and text is UniCL; with all
    classes distinct, ``across`` over two columns is ``infonce``.
    Source: Khosla et al. 2020, arXiv:2004.11362, equation 2; across: Yang et al. 2022, arXiv:2204.03610; balanced:
    Zhu et al. 2022, arXiv:2207.09052, class averaging of section 3.3, without its class complement.
    """

    @config
    class Config:
        """Fields of the objective."""

        columns: tuple[str, ...] = ("image", "text")
        group: str = "group"  # label that holds the classes; -1 is a class of one row
        keys: Literal["across", "all"] = "across"
        balanced: bool = False
        temperature: Temperature = 0.07  # start of the temperature
        learn_temperature: bool = True
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.columns or len(set(self.columns)) < len(self.columns):
                raise ValueError("columns must be one or more different columns.")
            if self.keys == "across" and len(self.columns) < 2:
                raise ValueError("keys: across needs two or more columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    def needs(self) -> Needs:
        """The columns and the class label."""
        return pair_needs(self.config.columns, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over queries that have a positive."""
        group = emb.label(self.config.group)
        scale = self.scale()
        columns = [emb[name] for name in self.config.columns]
        losses, counted = [], []
        for query in columns:
            keys = [Key(key, "self" if key is query else "positive") for key in columns]
            if self.config.keys == "across":
                keys = [key for key in keys if key.own == "positive"]
            votes = _votes(keys, group, query_is_key=self.config.keys == "all") if self.config.balanced else None
            present = comm.gather(torch.cat([key.column.present[:, None] for key in keys], dim=1))
            present = present.T.flatten()  # (K,) in the order of the tile's keys

            def per_row(tile: Tile, present: Tensor = present, votes: _Votes | None = votes) -> Tensor:
                return _row(tile, scale * tile.similarity, present, votes)

            pairs = compare(query, keys, per_row, group=group)  # (B, 2): loss, and 1 where there is a positive
            losses.append(pairs[:, 0])
            counted.append(pairs[:, 1].detach() * query.present)
        loss = comm.row_mean(torch.cat(losses), torch.cat(counted))
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})


def _row(tile: Tile, logits: Tensor, present: Tensor, votes: _Votes | None) -> Tensor:
    positive = (tile.positive & present[None, :]) | tile.alike
    everything = positive | tile.negative
    weighted = logits if votes is None else logits - votes.log_share(tile)
    total = weighted.masked_fill(~everything, MASKED).logsumexp(dim=1)
    number = positive.sum(dim=1)
    mean = (logits * positive).sum(dim=1) / number.clamp_min(1)
    found = (number > 0).to(logits.dtype)
    return torch.stack([(total - mean) * found, found], dim=1)


class _Votes:
    """How many keys of each key's class a query sees."""

    def __init__(self, classes: Tensor, mine: Tensor, size: Tensor, *, query_is_key: bool) -> None:
        self.classes, self.mine, self.size, self.query_is_key = classes, mine, size, query_is_key

    def log_share(self, tile: Tile) -> Tensor:
        """Log of the class's number of keys, for each cell of a tile."""
        size = self.size[None, :].expand(len(tile.similarity), -1)
        if self.query_is_key:  # the query's own cell is no key of its own
            size = size - (self.mine[tile.rows, None] == self.classes[None, :]).to(size.dtype)
        return size.clamp_min(1).log()


def _votes(keys: list[Key], group: Tensor, *, query_is_key: bool) -> _Votes:
    rows = torch.arange(len(group), device=group.device) + comm.rank() * len(group)
    mine = torch.where(group >= 0, group, -1 - rows)  # a row of no class is a class of its own
    classes = comm.gather(mine).repeat(len(keys))
    present = torch.cat([comm.gather(key.column.present) for key in keys])
    _, place = classes.unique(return_inverse=True)
    counts = torch.zeros(int(place.max()) + 1, device=group.device).index_add_(0, place, present.float())
    return _Votes(classes, mine, counts[place], query_is_key=query_is_key)
