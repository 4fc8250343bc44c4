"""Several sets, or one of uneven shards, into one set of even shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from data_pipelines.job import JOBS, Findings, Job, JobConfig, Step, identity
from data_pipelines.rows import Row, ShardFolder, open_folder, shard_infos, write_shard
from data_pipelines.shard_job import save_manifest
from data_pipelines.workspace import Done
from mmcontrast.config import Count, config
from mmcontrast.data.manifest import ColumnSpec, LabelSpec, Manifest
from mmcontrast.errors import ConfigError


@JOBS.register("merge")
class Merge(Job):
    """Join sets one after another and cut them into shards of equal numbers of rows."""

    @config
    class Config(JobConfig):
        """What is joined."""

        sources: tuple[str, ...]  # folders with manifest.json, in order
        name: str | None = None  # of the set; null: the folder's
        rows_per_shard: Count = 1000  # the last shard may hold fewer
        prefix_keys: bool = False  # put the source's name before every key, where two sets share keys

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.config.name or self.workspace.folder.name

    @cached_property
    def sources(self) -> list[ShardFolder]:
        """The sets, opened."""
        if not self.config.sources:
            raise ConfigError("sources: expected at least one folder.")
        return [open_folder(each) for each in self.config.sources]

    def inputs(self) -> dict[str, str]:
        """The sources' digests.

        Raises:
            ConfigError: two sets keep one column in different places, or share a name where names become keys.
        """
        self.columns()
        names = [source.name for source in self.sources]
        if self.config.prefix_keys and len(set(names)) < len(names):
            raise ConfigError(f"prefix_keys needs sets of different names; got {', '.join(names)}.")
        return {each: source.manifest.sha256() for each, source in zip(self.config.sources, self.sources, strict=True)}

    def columns(self) -> dict[str, ColumnSpec]:
        """The sets' columns together.

        Raises:
            ConfigError: one column lies in different places.
        """
        columns: dict[str, ColumnSpec] = {}
        for source in self.sources:
            for name, spec in source.manifest.columns.items():
                known = columns.setdefault(name, spec)
                if (known.modality, known.field) == (spec.modality, spec.field):
                    columns[name] = _either(known, spec)
                else:
                    raise ConfigError(
                        f"column '{name}' is {_say(spec)} in '{source.name}' but {_say(columns[name])} before it: "
                        "one manifest cannot name both. Pack one of them again."
                    )
        return columns

    def steps(self) -> list[Step]:
        """One task an output shard; then keys and manifest."""
        rows = sum(source.manifest.rows for source in self.sources)
        return [
            Step("write", -(-rows // self.config.rows_per_shard), self.write),
            Step("manifest", 1, self.write_manifest),
        ]

    def write(self, number: int) -> Done:
        """Write rows ``number * rows_per_shard`` onwards."""
        keys: list[str] = []

        def rows() -> Iterator[Row]:
            for row in self._between(number * self.config.rows_per_shard, self.config.rows_per_shard):
                keys.append(row.key)
                yield row

        path = self.workspace.folder / f"{self.name}-{number:06d}.tar"
        facts = write_shard(self.workspace, path, rows())
        listed = self.workspace.write_json(self.workspace.step_file("write", f"{number:06d}.keys.json"), keys)
        return Done(files=(path, listed), counts={"rows": facts["rows"]}, facts={"shard": facts})

    def _between(self, start: int, count: int) -> Iterator[Row]:
        """Rows ``start`` to ``start + count`` of all sets in a line; only shards that hold some are read."""
        places = [(source, number) for source in self.sources for number in range(len(source))]
        ends = list(accumulate(source.manifest.shards[number].rows for source, number in places))
        for (source, number), end in zip(places, ends, strict=True):
            begin = end - source.manifest.shards[number].rows
            if end <= start or begin >= start + count:
                continue
            for place, row in enumerate(source.rows(number), start=begin):
                if start <= place < start + count:
                    yield Row(f"{source.name}-{row.key}", row.members, row.shard) if self.config.prefix_keys else row

    def write_manifest(self, _: int) -> Done:
        """Check that keys are unique and write the manifest.

        Raises:
            ConfigError: two rows share a key.
        """
        import json

        seen: set[str] = set()
        for number, _marker in enumerate(self.workspace.markers("write")):
            for key in json.loads(self.workspace.step_file("write", f"{number:06d}.keys.json").read_text("utf-8")):
                if key in seen:
                    raise ConfigError(
                        f"two rows have the key '{key}'. Give prefix_keys=true and another out=, or run dedup first."
                    )
                seen.add(key)
        shards, licences = shard_infos(marker["facts"]["shard"] for marker in self.workspace.markers("write"))
        manifest = Manifest(
            name=self.name,
            columns=self.columns(),
            shards=shards,
            labels=self._labels(),
            licences=licences,
            made_by=identity(self),
        )
        return Done(files=(save_manifest(self, manifest),))

    def _labels(self) -> dict[str, LabelSpec]:
        """Labels that every set has, in one place, with their classes together."""
        every: list[dict[str, LabelSpec]] = [source.manifest.labels for source in self.sources]
        shared: dict[str, LabelSpec] = {}
        for name in every[0]:
            specs = [labels[name] for labels in every if name in labels]
            if len(specs) == len(every) and len({(spec.field, spec.extension) for spec in specs}) == 1:
                classes = tuple(sorted({each for spec in specs for each in spec.classes}))
                shared[name] = LabelSpec(field=specs[0].field, classes=classes, extension=specs[0].extension)
        return shared

    def findings(self) -> Findings:
        """Rows of each source."""
        rows: dict[str, Any] = {source.name: source.manifest.rows for source in self.sources}
        return Findings(tables={"Rows of each source": rows}, outputs=["manifest.json"])


def _either(first: ColumnSpec, second: ColumnSpec) -> ColumnSpec:
    """A column whose rows have one file type or the other: "png;jpg"."""
    extensions = dict.fromkeys([*first.extension.split(";"), *second.extension.split(";")])
    return replace(first, extension=";".join(extensions))


def _say(spec: ColumnSpec) -> str:
    return f".{spec.extension}" + (f" field '{spec.field}'" if spec.field else "")
