"""A large batch in chunks: exact gradients at the memory of one chunk."""

from __future__ import annotations

from typing import Any

import torch

from mmcontrast.config import Count, config
from mmcontrast.engines.base import Engine
from mmcontrast.randomness import RandomState
from mmcontrast.steps import STEPS, Allows, always
from mmcontrast.types import Batch, Embeddings, Terms


@STEPS.register("gradcache")
class GradCache:
    """Embed chunk by chunk without a graph, take the loss's gradient at the embeddings, embed again with it.

    The random state of each chunk's first pass is replayed in its second, so that dropout agrees.

    What objectives read of tokens is kept as well, for all rows: for them the memory is not that of a chunk alone.

    Relations: the gradients of ``plain`` for every objective.
    Source: Gao et al. 2021, arXiv:2101.06983.
    """

    @config
    class Config:
        """Fields of the step."""

        chunk_rows: Count = 128  # rows of this rank that are in memory with their graph at a time

    def __init__(self, config: Any, *, engine: Engine) -> None:
        self.config, self.engine = config, engine

    @staticmethod
    def in_words(config: Any, *, rows: int, world_size: int) -> list[str]:
        """What a user should know of the step before it runs."""
        count = -(-rows // config.chunk_rows)
        return [f"step gradcache: {count} chunk(s) of at most {config.chunk_rows:,} rows a rank, each embedded twice"]

    @staticmethod
    def pieces(config: Any, batch: Batch) -> list[list[Batch]]:
        """What is embedded in one call, for each loss of the update."""
        return [batch.chunks(config.chunk_rows)]

    def __call__(self, batch: Batch, *, allows: Allows = always) -> Terms:
        """Leave gradients on the model, if the loss is allowed a backward; return the loss and its scalars."""
        rows, engine = self.config.chunk_rows, self.engine
        (chunks,) = self.pieces(self.config, batch)
        with engine.one_update():
            seen: list[tuple[RandomState, Embeddings]] = []
            with torch.no_grad():
                if engine.model.resting:  # frozen towers draw nothing: once is enough
                    chunks = [engine("encode_resting", chunk) for chunk in chunks]
                for chunk in chunks:
                    state = RandomState.capture(engine.device)
                    seen.append((state, engine("embed", chunk)))
            leaves = Embeddings.join([embeddings for _, embeddings in seen]).as_leaves()
            terms = engine("loss", leaves)
            if not allows(terms):
                return terms
            engine.backward(terms.loss, last=False)
            grads = leaves.grads(rows, scale=engine.loss_scale)
            for number, (chunk, (state, _), grad) in enumerate(zip(chunks, seen, grads, strict=True), start=1):
                with state.replayed():
                    again = engine("embed", chunk)
                engine.backward(again.dot(grad), last=number == len(chunks))
        return terms
