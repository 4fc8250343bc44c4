"""SigLIP: every pair of a picture and a caption judged by itself, right or wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from mmcontrast import comm
from mmcontrast.config import NonNegative, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, own_columns
from mmcontrast.tiles.sigmoid import sigmoid_sum
from mmcontrast.tiles.tiling import TilesConfig, apart, other_groups
from mmcontrast.tiles.walk import Side
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("siglip", "sigmoid")
class SigLIP(Objective):
    r"""Pairwise sigmoid loss.

        loss = -1/n sum_i sum_j log sigmoid(z_ij (t sim(a_i, b_j) + bias)),   z_ij = 1 if i = j else -1,

    over present rows i and present keys j of the global batch; n counts rows with both present.

    Needs: the two columns; the ``group`` label if one is named.
    Relations: one pair without groups is open_clip's SigLipLoss.
    Source: Zhai et al. 2023, arXiv:2303.15343, section 3.2.
    """

    @config
    class Config:
        """Fields of the objective."""

        pair: tuple[str, str] = ("image", "text")
        temperature: Positive = 0.1  # the paper starts at t = 10
        bias: float = -10.0  # start of the bias, the paper's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # rows of equal value are no negatives of each other; -1 is no group
        tiles: TilesConfig = TilesConfig()  # how a large batch's logits are cut, so that they are never whole

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature)
        self.bias = nn.Parameter(torch.tensor([float(config.bias)]))

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return Needs(embeddings=tuple(self.config.pair), labels=(self.config.group,) if self.config.group else ())

    def forward(self, emb: Embeddings) -> Terms:
        """Return the loss of this rank's rows against all ranks' keys."""
        a, b = (emb[name] for name in self.config.pair)
        scale, bias = self.scale(), self.bias.float()
        group = emb.label(self.config.group) if self.config.group else None
        total = self._in_tiles if self.config.tiles.apply_to(len(a.z)) else self._at_once
        # The mean counts rows with both present; every present row still meets every present key.
        both = comm.all_sum((a.present & b.present).float().sum()).clamp_min(1.0)
        loss = comm.world_size() * total(a, b, scale, bias, group) / both
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0), "bias": self.bias.detach()[0]})

    def _at_once(self, a: Embedded, b: Embedded, scale: Tensor, bias: Tensor, group: Tensor | None) -> Tensor:
        keys, keys_present = comm.gather(b.z), comm.gather(b.present)
        targets = own_columns(len(a.z), a.z.device)
        own = torch.zeros(len(a.z), len(keys), dtype=torch.bool, device=a.z.device)
        own.scatter_(1, targets[:, None], True)
        allowed = (a.present[:, None] & keys_present[None, :]).clone()
        if group is not None:
            others = comm.gather(group)
            allowed &= own | ~((group[:, None] == others[None, :]) & (group[:, None] >= 0))
        logits = scale * (a.z.float() @ keys.float().T) + bias
        signs = torch.where(own, 1.0, -1.0)
        return -(logsigmoid(signs * logits) * allowed).sum(dim=1).sum()

    def _in_tiles(self, a: Embedded, b: Embedded, scale: Tensor, bias: Tensor, group: Tensor | None) -> Tensor:
        labels = {} if group is None else {"group": apart(group)}
        return sigmoid_sum(
            Side(a.z, a.present, labels),
            Side(b.z, b.present, labels),
            scale,
            bias,
            tiling=self.config.tiles,
            bias=None if group is None else other_groups,
        )
