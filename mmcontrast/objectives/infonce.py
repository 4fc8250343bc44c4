"""InfoNCE over any set of modality pairs, each with a temperature of its own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.config import NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, masked_cross_entropy, own_columns
from mmcontrast.tiles.logsumexp import logsumexp
from mmcontrast.tiles.tiling import TilesConfig, apart, other_groups
from mmcontrast.tiles.walk import Side
from mmcontrast.types import Embedded, Embeddings, Needs, RowLosses, Terms


@OBJECTIVES.register("infonce", "clip", "ntxent_cross_modal")
class InfoNCE(Objective):
    r"""Symmetric cross entropy over the rows of the global batch.

    For a pair (a, b), with scale s and rows i whose a and b are both present,

        loss = mean_i ( -log softmax_j(s sim(a_i, b_j))[i] - log softmax_j(s sim(b_i, a_j))[i] ) / 2,

    where j runs over all present keys of the global batch.  Several pairs add, each with its weight.  Rows that
    share a ``group`` label (two drawings of one thing, say) are not each other's negatives.

    Needs: the columns of the pairs; the ``group`` label if one is named.
    Relations: one pair without groups is open_clip's ClipLoss.
    Source: van den Oord et al. 2018, arXiv:1807.03748; Radford et al. 2021, arXiv:2103.00020, figure 3.
    """

    @config
    class Config:
        """Fields of the objective."""

        pairs: tuple[tuple[str, str], ...] = (("image", "text"),)
        weights: tuple[Positive, ...] = ()  # one a pair; empty: 1 each
        temperature: Positive = 0.07  # start of every pair's temperature (CLIP)
        learn_temperature: bool = True
        label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group
        tiles: TilesConfig = TilesConfig()  # how a large batch's logits are cut, so that they are never whole

        def __post_init__(self) -> None:
            if not self.pairs or any(a == b for a, b in self.pairs) or len(set(self.pairs)) < len(self.pairs):
                raise ValueError("pairs must be one or more distinct pairs of two different columns.")
            if self.weights and len(self.weights) != len(self.pairs):
                raise ValueError(f"weights has {len(self.weights)} entries for {len(self.pairs)} pairs.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scales = nn.ModuleDict(
            {
                pair_name(a, b): LogitScale(temperature=config.temperature, learned=config.learn_temperature)
                for a, b in config.pairs
            }
        )

    def needs(self) -> Needs:
        """The pairs' columns, and the group label."""
        columns = tuple(sorted({column for pair in self.config.pairs for column in pair}))
        return Needs(embeddings=columns, labels=(self.config.group,) if self.config.group else ())

    def forward(self, emb: Embeddings) -> Terms:
        """Return the weighted sum over pairs, and each pair's loss and scale."""
        group = emb.label(self.config.group) if self.config.group else None
        weights = self.config.weights or (1.0,) * len(self.config.pairs)
        losses: list[Tensor] = []
        scalars: dict[str, Tensor] = {}
        rows: list[tuple[float, RowLosses]] = []
        for (a, b), weight in zip(self.config.pairs, weights, strict=True):
            name = pair_name(a, b)
            scale = self.scales[name]()
            values = self._pair_rows(emb[a], emb[b], scale, group)
            both = emb[a].present & emb[b].present
            loss = comm.row_mean(values, both.float())
            rows.append((weight, RowLosses(values.detach(), both)))
            losses.append(weight * loss)
            scalars[name] = loss.detach()
            scalars[f"{name}.logit_scale"] = scale.detach().squeeze(0)
        return Terms(loss=torch.stack(losses).sum(), scalars=scalars, rows=RowLosses.total(rows))

    def _pair_rows(self, a: Embedded, b: Embedded, scale: Tensor, group: Tensor | None) -> Tensor:
        if self.config.tiles.apply_to(len(a.z)):
            return self._in_tiles(a, b, scale, group)
        return (self._direction(a, b, scale, group) + self._direction(b, a, scale, group)) / 2

    def _in_tiles(self, a: Embedded, b: Embedded, scale: Tensor, group: Tensor | None) -> Tensor:
        """Both directions at once: (B,) their mean, which counts where a and b are present."""
        labels = {} if group is None else {"group": apart(group)}
        smoothing = self.config.label_smoothing
        sums = logsumexp(
            Side(a.z, a.present, labels),
            Side(b.z, b.present, labels),
            scale,
            tiling=self.config.tiles,
            bias=None if group is None else other_groups,
            means=smoothing > 0,
        )
        normalizers = (sums.rows + sums.columns) / 2
        if smoothing == 0.0:
            return normalizers - sums.own
        # Smoothed targets: 1 - smoothing on the right key, the rest spread over all allowed ones.
        return normalizers - (1 - smoothing) * sums.own - smoothing * (sums.row_means + sums.column_means) / 2

    def _direction(self, query: Embedded, key: Embedded, scale: Tensor, group: Tensor | None) -> Tensor:
        keys = comm.gather(key.z)  # (G, D)
        allowed = comm.gather(key.present)[None, :].expand(len(query.z), -1)  # (B, G)
        targets = own_columns(len(query.z), query.z.device)
        if group is not None:
            others = comm.gather(group)
            allowed = allowed & ~((group[:, None] == others[None, :]) & (group[:, None] >= 0))
        logits = scale * (query.z.float() @ keys.float().T)
        return masked_cross_entropy(logits, targets, allowed, label_smoothing=self.config.label_smoothing)


def pair_name(a: str, b: str) -> str:
    """Name of a pair in logs and state: ``image-text``; dots of column names become underscores."""
    return f"{a}-{b}".replace(".", "_")
