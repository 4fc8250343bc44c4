"""Momentum contrast across modalities: keys of a slowly moving copy, and a queue of many more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.config import Count, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.key_queue import KeyQueue, too_small
from mmcontrast.objectives.pairwise import (
    MASKED,
    Key,
    ScaledPairConfig,
    Tile,
    compare,
    log_sum_exp,
    picked,
)
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("momentum_contrast", "moco", "momentum_queue")
class MomentumContrast(Objective):
    r"""Each query finds its momentum key among the queue's, from each side of the pair.

        loss_i = -log( e^{s sim(a_i, b'_i)} / (e^{s sim(a_i, b'_i)} + sum_{q in N_i} e^{s sim(a_i, m_q)}) ),

    b' the momentum copy's embedding of the second column and m its queue; and with a and b exchanged (the dual view).
    N_i holds the ``hardest`` most similar keys of the queue and, with ``in_batch``, of the batch's other rows.

    Needs: the two columns, and both by the momentum copy; the ``group`` label if one is named.
    Relations: without ``in_batch`` and ``hardest``, two views of one modality are MoCo, made symmetric.
    Source: He et al. 2020, arXiv:1911.05722, algorithm 1; across modalities: Li et al. 2021 (ALBEF),
    arXiv:2107.07651; keeping the hardest k: Kalantidis et al. 2020, arXiv:2010.01028, section 3.1.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        queue: Count = 65536  # keys kept of each column (ALBEF's and MoCo's)
        hardest: Count | None = None  # most similar negatives that count for each row; null: all
        in_batch: bool = True  # the batch's other momentum keys are negatives too

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)

    queues: nn.ModuleList

    def attach(self, spaces: Spaces) -> None:
        """Build the queues at the embedding's width."""
        self.queues = nn.ModuleList(KeyQueue(size=self.config.queue, dim=spaces.dim) for _ in self.config.pair)

    def needs(self) -> Needs:
        """The pair, online and by the momentum copy."""
        pair = tuple(sorted(self.config.pair))
        return Needs(embeddings=pair, momentum=pair, labels=(self.config.group,) if self.config.group else ())

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale = self.scale()
        group = emb.label(self.config.group) if self.config.group else None
        queries = [emb[name] for name in self.config.pair]
        keys = [emb.momentum(name) for name in self.config.pair]
        total = torch.zeros(len(queries[0].z), device=queries[0].z.device)
        for side, query in enumerate(queries):
            queue = self.queues[1 - side]
            assert isinstance(queue, KeyQueue)
            z = query.z.float()

            def per_row(tile: Tile, z: Tensor = z, queue: KeyQueue = queue) -> Tensor:
                allowed = queue.allowed(None if group is None else group[tile.rows])
                past = scale * (z[tile.rows] @ queue.z.T)
                logits, negative = scale * tile.similarity, tile.negative & self.config.in_batch
                return self._row(logits, tile.positive, negative, past, allowed.expand_as(past))

            key = Key(keys[1 - side], "positive")
            total = total + compare(query, [key], per_row, group=group, beside=self.config.queue) / 2
        both = (queries[0].present & queries[1].present).float()
        return Terms(loss=comm.row_mean(total, both), scalars={"logit_scale": scale.detach().squeeze(0)})

    def _row(self, logits: Tensor, positive: Tensor, negative: Tensor, past: Tensor, allowed: Tensor) -> Tensor:
        found = picked(logits, positive)
        others = torch.cat([logits.masked_fill(~negative, MASKED), past.masked_fill(~allowed, MASKED)], dim=1)
        if self.config.hardest is not None and self.config.hardest < others.shape[1]:
            others = others.topk(self.config.hardest, dim=1).values
        return torch.logaddexp(found, log_sum_exp(others, others > MASKED / 2)) - found

    def after_step(self, emb: Embeddings) -> None:
        """Put this update's momentum keys into the queues."""
        group = emb.label(self.config.group) if self.config.group else None
        for name, queue in zip(self.config.pair, self.queues, strict=True):
            assert isinstance(queue, KeyQueue)
            queue.push(emb.momentum(name), group)

    def problems(self, batch_rows: int) -> list[str]:
        """A queue smaller than one batch."""
        return too_small("momentum_contrast", self.config.queue, batch_rows)
