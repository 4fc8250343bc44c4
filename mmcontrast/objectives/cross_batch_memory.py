"""Cross-batch memory: embeddings of past batches as further negatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective, Spaces
from mmcontrast.objectives.key_queue import KeyQueue, too_small
from mmcontrast.objectives.pairwise import (
    ScaledPairConfig,
    Tile,
    log_sum_exp,
    pair_needs,
    picked,
    symmetric_by_side,
)
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("cross_batch_memory", "xbm")
class CrossBatchMemory(Objective):
    r"""Symmetric InfoNCE whose key sides also hold the newest embeddings of earlier batches.

        loss_i = -log( e^{s sim_ii} / (sum_j e^{s sim_ij} + sum_q e^{s sim(a_i, m_q)}) ),

    in both directions, m the memory of the key column.  The towers drift slowly, so that old embeddings still tell.

    Needs: the two columns; the ``group`` label if one is named, which the memory keeps too.
    Relations: with an empty memory, ``infonce``.
    Source: Wang et al. 2020, arXiv:1912.06798, section 3.3, with InfoNCE as its pair-based loss.
    """

    @config
    class Config(ScaledPairConfig):
        """Fields of the objective."""

        queue: Count = 8192  # keys kept of each column
        start_step: NonNegativeCount = 1000  # updates before memory is used: early embeddings drift fast (the paper's)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)
        self.register_buffer("updates", torch.zeros(1, dtype=torch.int64))

    updates: Tensor
    memories: nn.ModuleList

    def attach(self, spaces: Spaces) -> None:
        """Build the memories at the embedding's width."""
        self.memories = nn.ModuleList(KeyQueue(size=self.config.queue, dim=spaces.dim) for _ in self.config.pair)

    def needs(self) -> Needs:
        """The pair, and the group label."""
        return pair_needs(self.config.pair, self.config.group)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows and directions."""
        scale = self.scale()
        group = emb.label(self.config.group) if self.config.group else None
        use = int(self.updates) >= self.config.start_step

        def per_row(tile: Tile, query: Tensor, side: int) -> Tensor:
            logits = scale * tile.similarity
            everything = log_sum_exp(logits, tile.positive | tile.negative)
            if use:
                memory = self.memories[1 - side]
                assert isinstance(memory, KeyQueue)
                past = scale * (query @ memory.z.T)  # (R, Q)
                allowed = memory.allowed(None if group is None else group[tile.rows])
                everything = torch.logaddexp(everything, log_sum_exp(past, allowed.expand_as(past)))
            return everything - picked(logits, tile.positive)

        loss = symmetric_by_side(emb, self.config, per_row, beside=self.config.queue if use else 0)
        return Terms(loss=loss, scalars={"logit_scale": scale.detach().squeeze(0)})

    def after_step(self, emb: Embeddings) -> None:
        """Put this update's embeddings into the memories."""
        group = emb.label(self.config.group) if self.config.group else None
        for name, memory in zip(self.config.pair, self.memories, strict=True):
            assert isinstance(memory, KeyQueue)
            memory.push(emb[name], group)
        self.updates += 1

    def problems(self, batch_rows: int) -> list[str]:
        """A memory smaller than one batch."""
        return too_small("cross_batch_memory", self.config.queue, batch_rows)
