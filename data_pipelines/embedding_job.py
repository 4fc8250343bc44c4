"""Base of the shard jobs that look at a model's embeddings of the whole set."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from data_pipelines.encoder import EncoderConfig, embed_shard, encoder_inputs
from data_pipelines.job import Step
from data_pipelines.shard_job import ShardJob
from data_pipelines.workspace import Done
from mmcontrast.errors import ConfigError


class EmbeddingJob(ShardJob):
    """Embeds some columns of every shard once; later steps read them all, in the order of the rows."""

    @property
    def model(self) -> EncoderConfig | None:
        """The model, if this job needs one."""
        raise NotImplementedError

    def embedded_columns(self) -> tuple[str, ...]:
        """Columns to embed."""
        raise NotImplementedError

    def inputs(self) -> dict[str, str]:
        """The source's digest and that of the weights.

        Raises:
            ConfigError: the set lacks a column.
        """
        result = super().inputs()
        if self.model is not None:
            for column in self.embedded_columns():
                if column not in self.source.manifest.columns:
                    known = ", ".join(self.source.manifest.columns)
                    raise ConfigError(f"'{self.source.name}' has no column '{column}'; it has: {known}.")
            result |= encoder_inputs(self.model)
        return result

    def embed_step(self) -> Step:
        """The step that writes ``embed/000000.COLUMN.npy``."""
        return Step("embed", len(self.source), self._embed)

    def _embed(self, number: int) -> Done:
        assert self.model is not None
        files = []
        for column in self.embedded_columns():
            path = self.workspace.step_file("embed", f"{number:06d}.{column}.npy")
            with self.workspace.writing(path) as stream:
                np.save(stream, embed_shard(self.source, number, column, self.model), allow_pickle=False)
            files.append(path)
        return Done(files=tuple(files))

    @cached_property
    def embeddings(self) -> dict[str, np.ndarray]:
        """Column -> float32 (rows, D) over all shards; NaN where a row has none."""
        return {
            column: np.concatenate(
                [
                    np.load(self.workspace.step_file("embed", f"{number:06d}.{column}.npy"), allow_pickle=False)
                    for number in range(len(self.source))
                ]
            )
            for column in self.embedded_columns()
        }

    def start_of(self, number: int) -> int:
        """Place of a shard's first row in the line of all rows."""
        return sum(shard.rows for shard in self.source.manifest.shards[:number])
