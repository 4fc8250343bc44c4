"""The whole batch in one forward and one backward."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import config
from mmcontrast.engines.base import Engine
from mmcontrast.steps import STEPS
from mmcontrast.types import Batch, Terms


@STEPS.register("plain")
class Plain:
    """Embed, loss, backward."""

    reads_tokens = True

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any, *, engine: Engine) -> None:
        self.config, self.engine = config, engine

    def __call__(self, batch: Batch) -> Terms:
        """Leave gradients on the model; return the loss and its scalars."""
        with self.engine.one_update():
            terms = self.engine("loss", self.engine("embed", batch))
            self.engine.backward(terms.loss)
        return terms
