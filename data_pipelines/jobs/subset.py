"""Choose rows by a model's embeddings of the whole set, or name their clusters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any

from data_pipelines.embedding_job import EmbeddingJob
from data_pipelines.encoder import EncoderConfig
from data_pipelines.job import JOBS, Step
from data_pipelines.rows import Dropped, Row
from data_pipelines.selections import SELECTIONS
from data_pipelines.selections.base import Selection
from data_pipelines.shard_job import ShardJobConfig
from data_pipelines.workspace import Done
from mmcontrast.config import OneOf, config
from mmcontrast.data.manifest import LabelSpec


@JOBS.register("subset")
class Subset(EmbeddingJob):
    """Keep the rows that teach most, thin out crowded neighbourhoods, or write clusters for contextual batches."""

    @config
    class Config(ShardJobConfig):
        """Model and way of choosing."""

        model: EncoderConfig  # a trained run
        column: str = "image"  # embedded: image, audio or text
        selection: Annotated[Any, OneOf(SELECTIONS)]  # coverage, neighbourhood or clusters

    @property
    def model(self) -> EncoderConfig:
        """The config's."""
        model: EncoderConfig = self.config.model
        return model

    def embedded_columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.config.column,)

    @cached_property
    def selection(self) -> Selection:
        """The selection, built."""
        built: Selection = SELECTIONS.build(self.config.selection)
        return built

    def prepare(self) -> list[Step]:
        """Embed every shard, then choose."""
        return [self.embed_step(), Step("choose", 1, self.choose)]

    def choose(self, _: int) -> Done:
        """Choose over the whole set."""
        keys = [row.key for number in range(len(self.source)) for row in self.source.rows(number)]
        chosen = self.selection.choose(self.embeddings[self.config.column], keys)
        clusters = None if chosen.cluster is None else chosen.cluster.tolist()
        tree = {"keep": chosen.keep.tolist(), "cluster": clusters, "num_clusters": chosen.num_clusters}
        return Done(files=(self.workspace.write_json(self.workspace.step_file("choose", "chosen.json"), tree),))

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """What was chosen."""
        path = self.workspace.step_file("choose", "chosen.json")
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return tree

    def process(self, number: int, rows: Iterator[Row]) -> Iterator[Row | Dropped]:
        """Keep, drop, or name clusters."""
        for place, row in enumerate(rows, start=self.start_of(number)):
            if not self.chosen["keep"][place]:
                yield Dropped(row.key, row.shard, self.selection.reason)
            elif self.chosen["cluster"] is None or self.chosen["cluster"][place] < 0:
                yield row
            else:
                yield row.with_info(cluster=_name(self.chosen["cluster"][place]))

    def labels(self) -> dict[str, LabelSpec]:
        """The set's labels, and ``cluster``."""
        if self.chosen["cluster"] is None:
            return super().labels()
        classes = tuple(_name(each) for each in range(self.chosen["num_clusters"]))
        return super().labels() | {"cluster": LabelSpec(field="cluster", classes=classes)}


def _name(cluster: int) -> str:
    return f"{cluster:06d}"
