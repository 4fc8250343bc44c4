"""Base of the jobs that turn each shard of a set into one shard: rows kept, changed or dropped with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_pipelines.job import Findings, Job, JobConfig, Step, identity
from data_pipelines.rows import Dropped, Row, ShardFolder, open_folder, shard_infos, write_shard
from data_pipelines.workspace import Done
from mmcontrast.config import config
from mmcontrast.data.manifest import ColumnSpec, LabelSpec, Manifest, write_manifest
from mmcontrast.errors import ShardError

DROPPED = "dropped.jsonl"


@config
class ShardJobConfig(JobConfig):
    """A set in, a set out."""

    source: str  # folder with manifest.json, or package:NAME for a set shipped with mmcontrast
    name: str | None = None  # name of the new set; null: the folder's


class ShardJob(Job):
    """One task a shard of the source; ``process`` says what becomes of its rows."""

    @property
    def source(self) -> ShardFolder:
        """The set that is read."""
        return open_folder(self.config.source)

    @property
    def name(self) -> str:
        """Name of the set that is written."""
        return self.config.name or self.workspace.folder.name

    def inputs(self) -> dict[str, str]:
        """The source's digest."""
        return {self.config.source: self.source.manifest.sha256()}

    def prepare(self) -> list[Step]:
        """Steps before any shard is written."""
        return []

    def process(self, number: int, rows: Iterator[Row]) -> Iterator[Row | Dropped]:
        """Yield every row of shard ``number``, changed or as it is, or a :class:`Dropped` in its place."""
        raise NotImplementedError

    def noted(self) -> dict[str, int]:
        """What ``process`` counted in the shard that it has just been through, for the report."""
        return {}

    def columns(self) -> dict[str, ColumnSpec]:
        """Columns of the new set."""
        return dict(self.source.manifest.columns)

    def labels(self) -> dict[str, LabelSpec]:
        """Labels of the new set.  Classes stay as they are: ids must not change with the rows."""
        return dict(self.source.manifest.labels)

    def steps(self) -> list[Step]:
        """Preparation, one task a shard, the manifest."""
        return [
            *self.prepare(),
            Step("write", len(self.source), self.write),
            Step("manifest", 1, self.write_manifest),
        ]

    def write(self, number: int) -> Done:
        """Write the shard that shard ``number`` becomes, and its dropped rows.

        Raises:
            ShardError: no row is left unexplained, by an identity that is checked here.
        """
        dropped: list[Dropped] = []
        reasons: Counter[str] = Counter()

        def kept() -> Iterator[Row]:
            for each in self.process(number, self.source.rows(number)):
                if isinstance(each, Dropped):
                    dropped.append(each)
                    reasons[each.reason] += 1
                else:
                    yield each

        path = self.workspace.folder / f"{self.name}-{number:06d}.tar"
        facts = write_shard(self.workspace, path, kept())
        rows_in = self.source.manifest.shards[number].rows
        assert facts["rows"] + len(dropped) == rows_in, "every row is kept or dropped with a reason"
        listed = self.workspace.step_file("write", f"{number:06d}.dropped.jsonl")
        self.workspace.write_rows(listed, [each.as_row() for each in dropped])
        return Done(
            files=(listed, path) if facts["rows"] else (listed,),
            counts={"rows in": rows_in, "rows kept": facts["rows"], "rows dropped": len(dropped)} | self.noted(),
            facts={"shard": facts, "dropped": dict(reasons)},
        )

    def write_manifest(self, _: int) -> Done:
        """Write ``manifest.json`` and ``dropped.jsonl``.

        Raises:
            ShardError: no row is left.
        """
        facts = [marker["facts"]["shard"] for marker in self.workspace.markers("write")]
        shards, licences = shard_infos(facts)
        listed = self.workspace.folder / DROPPED
        with self.workspace.writing(listed) as stream:
            for number in range(len(self.source)):
                stream.write(self.workspace.step_file("write", f"{number:06d}.dropped.jsonl").read_bytes())
        if not shards:
            raise ShardError(f"no row of '{self.config.source}' is left. '{listed}' says why, row by row.")
        manifest = replace(
            self.source.manifest,
            name=self.name,
            columns=self.columns(),
            labels=self.labels(),
            shards=shards,
            licences=licences,
            made_by=self.made_by(),
        )
        return Done(files=(save_manifest(self, manifest), listed))

    def made_by(self) -> dict[str, Any]:
        """The manifest's account of how the set was made."""
        return identity(self)

    def findings(self) -> Findings:
        """Reasons with their numbers of rows."""
        reasons: Counter[str] = Counter()
        for marker in self.workspace.markers("write"):
            reasons.update(marker["facts"]["dropped"])
        tables = {"Rows dropped": dict(reasons.most_common())} if reasons else {}
        return Findings(tables=tables, outputs=["manifest.json", DROPPED])


def save_manifest(job: Job, manifest: Manifest, folder: str = ".") -> Path:
    """Write a manifest whole or not at all; return its path."""
    target = job.workspace.folder / folder
    scratch = job.workspace.work / "manifest" / folder
    scratch.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    return write_manifest(manifest, scratch).replace(target / "manifest.json")
