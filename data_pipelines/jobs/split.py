"""One set into parts, by the hash of a group: rows of one group never lie in two parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from data_pipelines.job import JOBS, Findings, Job, JobConfig, Step, identity
from data_pipelines.media import first_line
from data_pipelines.rows import Row, ShardFolder, open_folder, shard_infos, write_shard
from data_pipelines.shard_job import save_manifest
from data_pipelines.workspace import Done
from mmcontrast.config import Positive, config
from mmcontrast.errors import ConfigError, ShardError, SkipSample


@JOBS.register("split")
class Split(Job):
    """Cut a set into parts, such as train and test, by the hash of a field or of the key."""

    @config
    class Config(JobConfig):
        """Parts and what keeps rows together."""

        source: str  # folder with manifest.json
        parts: dict[str, Positive]  # part -> weight, as in {train: 9, test: 1}
        by: str | None = None  # JSON field: rows of equal value go to one part; null: the key decides
        salt: str = ""  # another salt, another split
        missing: str | None = None  # part of the rows that lack the field; null: they are an error

    @property
    def source(self) -> ShardFolder:
        """The set that is read."""
        return open_folder(self.config.source)

    def inputs(self) -> dict[str, str]:
        """The source's digest.

        Raises:
            ConfigError: no parts, or a part that cannot be a folder's name.
        """
        if not self.config.parts:
            raise ConfigError("parts: expected at least one, as in parts='{train: 9, test: 1}'.")
        for name in [*self.config.parts, *([self.config.missing] if self.config.missing else [])]:
            if not name.replace("-", "").replace("_", "").isalnum() or name == "job":
                raise ConfigError(f"parts: '{name}' cannot be the name of a part's folder.")
        return {self.config.source: self.source.manifest.sha256()}

    def steps(self) -> list[Step]:
        """One task a shard of the source; then the manifests."""
        return [Step("write", len(self.source), self.write), Step("manifest", 1, self.write_manifests)]

    @cached_property
    def parts(self) -> list[str]:
        """Every part's name."""
        extra = self.config.missing
        return [*self.config.parts, *([extra] if extra and extra not in self.config.parts else [])]

    def part_of(self, row: Row) -> str:
        """The part of one row.

        Raises:
            ShardError: the row lacks the field and no part is named for such rows.
        """
        group: Any = row.key
        if self.config.by is not None:
            try:
                group = row.info().get(self.config.by)
            except SkipSample as error:
                raise ShardError(f"{row.shard}: {first_line(error)}. Run filter or verify first.") from error
            if group is None:
                if self.config.missing is None:
                    raise ShardError(f"{row.shard}: {row.key} has no field '{self.config.by}'. Give missing= a part.")
                return str(self.config.missing)
        return choose(str(group), self.config.parts, salt=self.config.salt)

    def write(self, number: int) -> Done:
        """Write one shard a part."""
        rows: dict[str, list[tuple[str, Row]]] = {part: [] for part in self.parts}
        for row in self.source.rows(number):
            rows[self.part_of(row)].append((row.key, row))
        files, facts = [], {}
        for part, listed in rows.items():
            path = self.workspace.folder / part / f"{part}-{number:06d}.tar"
            facts[part] = write_shard(self.workspace, path, (row for _, row in listed))
            if listed:
                files.append(path)
        counts = {f"rows of {part}": len(listed) for part, listed in rows.items()}
        return Done(files=tuple(files), counts={"rows in": sum(counts.values())} | counts, facts={"shards": facts})

    def write_manifests(self, _: int) -> Done:
        """Write one manifest a part.

        Raises:
            ShardError: a part is empty.
        """
        files = []
        for part in self.parts:
            shards, licences = shard_infos(self._facts(part))
            if not shards:
                raise ShardError(f"part '{part}' is empty: too few groups for its weight. Choose other parts or salt.")
            manifest = replace(
                self.source.manifest,
                name=part,
                shards=shards,
                licences=licences,
                made_by=identity(self) | {"part": part},
            )
            files.append(save_manifest(self, manifest, part))
        return Done(files=tuple(files))

    def _facts(self, part: str) -> Iterator[dict[str, Any]]:
        for marker in self.workspace.markers("write"):
            yield marker["facts"]["shards"][part]

    def findings(self) -> Findings:
        """Rows of each part."""
        rows: Counter[str] = Counter()
        for part in self.parts:
            rows[part] = sum(facts["rows"] for facts in self._facts(part))
        return Findings(tables={"Rows": dict(rows)}, outputs=[f"{part}/manifest.json" for part in self.parts])


def choose(group: str, parts: dict[str, float], *, salt: str) -> str:
    """The part of a group: its hash as a fraction, laid on the parts' shares in the order given."""
    digest = hashlib.blake2b(f"{salt}\x1f{group}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64 * sum(parts.values())
    for part, weight in parts.items():
        place -= weight
        if place < 0:
            return part
    return list(parts)[-1]
