"""A large batch as several smaller ones whose gradients are averaged: fewer negatives, any objective."""

from __future__ import annotations

from typing import Any

import torch

from mmcontrast.config import Count, config
from mmcontrast.engines.base import Engine
from mmcontrast.steps import STEPS, Allows, always
from mmcontrast.types import Batch, RowLosses, Terms


@STEPS.register("accumulate")
class Accumulate:
    """Each micro-batch has a loss of its own, among its own rows on all ranks; the update takes their mean.

    It is not the loss of the whole batch: a row meets only the negatives of its micro-batch.  ``gradcache`` keeps them
    all; this one embeds each row once, and keeps no tokens of other micro-batches.

    Relations: ``plain`` when one micro-batch holds all rows.
    """

    @config
    class Config:
        """Fields of the step."""

        micro_rows: Count = 128  # rows of this rank in one micro-batch

    def __init__(self, config: Any, *, engine: Engine) -> None:
        self.config, self.engine = config, engine

    @staticmethod
    def in_words(config: Any, *, rows: int, world_size: int) -> list[str]:
        """What a user should know of the step before it runs."""
        if config.micro_rows >= rows:
            return []
        micro = config.micro_rows * world_size
        return [
            f"step accumulate: each row meets the negatives of {micro:,} rows, not of the {rows * world_size:,} rows "
            "of the update; gradcache keeps them all"
        ]

    @staticmethod
    def pieces(config: Any, batch: Batch) -> list[list[Batch]]:
        """What is embedded in one call, for each loss of the update."""
        return [[micro] for micro in batch.chunks(config.micro_rows)]

    def __call__(self, batch: Batch, *, allows: Allows = always) -> Terms:
        """Leave gradients on the model, if every loss is allowed a backward; return the mean loss and its scalars."""
        micros = self.pieces(self.config, batch)
        found: list[Terms] = []
        with self.engine.one_update():
            for number, (micro,) in enumerate(micros, start=1):
                terms = self.engine("loss", self.engine("embed", micro))
                if not allows(terms):
                    self.engine.discard()
                    return terms
                self.engine.backward(terms.loss / len(micros), last=number == len(micros))
                found.append(Terms(terms.loss.detach(), terms.scalars, terms.rows))
        scalars = {
            name: torch.stack([terms.scalars[name] for terms in found]).mean(dim=0) for name in found[0].scalars
        }
        return Terms(torch.stack([terms.loss for terms in found]).mean(), scalars, _joined(found))


def _joined(found: list[Terms]) -> RowLosses | None:
    parts = [terms.rows for terms in found if terms.rows is not None]
    if len(parts) < len(found):
        return None
    return RowLosses(torch.cat([part.values for part in parts]), torch.cat([part.counted for part in parts]))
