"""The whole batch in one forward and one backward."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import config
from mmcontrast.engines.base import Engine
from mmcontrast.steps import STEPS, Allows, always
from mmcontrast.types import Batch, Terms


@STEPS.register("plain")
class Plain:
    """Embed, loss, backward."""

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any, *, engine: Engine) -> None:
        self.config, self.engine = config, engine

    @staticmethod
    def in_words(config: Any, *, rows: int, world_size: int) -> list[str]:
        """Nothing to say."""
        return []

    @staticmethod
    def pieces(config: Any, batch: Batch) -> list[list[Batch]]:
        """What is embedded in one call, for each loss of the update."""
        return [[batch]]

    def __call__(self, batch: Batch, *, allows: Allows = always) -> Terms:
        """Leave gradients on the model, if the loss is allowed a backward; return the loss and its scalars."""
        with self.engine.one_update():
            terms = self.engine("loss", self.engine("embed", batch))
            if allows(terms):
                self.engine.backward(terms.loss)
        return terms
