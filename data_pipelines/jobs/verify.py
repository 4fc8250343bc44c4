"""Every checksum, every key and every decode of a set, with each bad row named."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from data_pipelines.job import JOBS, Findings, Job, JobConfig, Step
from data_pipelines.media import Look, check_cell, first_line
from data_pipelines.rows import Dropped, ShardFolder, file_digest, member_of, open_folder
from data_pipelines.workspace import Done
from mmcontrast.config import config
from mmcontrast.errors import ShardError, SkipSample

BAD = "bad.jsonl"


@JOBS.register("verify")
class Verify(Job):
    """Check a set against its manifest: sizes, sha256, rows, unique keys, and that every cell decodes.

    A finished check of a set with something wrong in it exits with 1.
    """

    @config
    class Config(JobConfig):
        """What is checked."""

        source: str  # folder with manifest.json
        decode: bool = True  # decode every picture, sound and caption, or compare checksums and headers alone

    @property
    def source(self) -> ShardFolder:
        """The set that is read."""
        return open_folder(self.config.source)

    def inputs(self) -> dict[str, str]:
        """The manifest's digest, and sizes and times of its shards: a repaired shard is another input."""
        stats: dict[str, str] = {}
        for number in range(len(self.source)):
            path = self.source.path(number)
            stats[path.name] = f"{path.stat().st_size}-{path.stat().st_mtime_ns}" if path.is_file() else "missing"
        digest = hashlib.sha256(json.dumps(stats, sort_keys=True).encode()).hexdigest()
        return {self.config.source: self.source.manifest.sha256(), "shard files": digest}

    def steps(self) -> list[Step]:
        """One task a shard; then keys over all shards."""
        return [Step("check", len(self.source), self.check), Step("keys", 1, self.check_keys)]

    def check(self, number: int) -> Done:
        """Check one shard."""
        shard, path = self.source.manifest.shards[number], self.source.path(number)
        bad: list[Dropped] = []
        keys: list[str] = []
        present: Counter[str] = Counter()
        if not path.is_file():
            bad.append(Dropped("", shard.path, "shard is missing", f"no file '{path}'"))
        else:
            size, digest = file_digest(path)
            if size != shard.bytes:
                bad.append(Dropped("", shard.path, "shard has another size", f"{size:,}, not {shard.bytes:,} bytes"))
            elif digest != shard.sha256:
                bad.append(Dropped("", shard.path, "shard has another sha256", f"{digest}, not {shard.sha256}"))
            else:
                try:
                    for row in self.source.rows(number):
                        keys.append(row.key)
                        look = Look(row, self.source.manifest)
                        bad += self._check_row(look, present)
                except ShardError as error:
                    bad.append(Dropped("", shard.path, "shard is damaged", first_line(error)))
        listed = self.workspace.write_json(self.workspace.step_file("check", f"{number:06d}.keys.json"), keys)
        rows = self.workspace.write_rows(
            self.workspace.step_file("check", f"{number:06d}.bad.jsonl"), [each.as_row() for each in bad]
        )
        return Done(
            files=(listed, rows),
            counts={"rows": len(keys), "rows of the manifest": shard.rows, "problems": len(bad)},
            facts={"bad": Counter(each.reason for each in bad), "present": present},
        )

    def _check_row(self, look: Look, present: Counter[str]) -> list[Dropped]:
        bad: list[Dropped] = []
        row = look.row
        for column in look.columns:
            try:
                if not look.has(column):
                    continue
                present[column] += 1
                if self.config.decode:
                    check_cell(look, column)
            except SkipSample as error:
                bad.append(Dropped(row.key, row.shard, f"{column} does not decode", first_line(error)))
        if not any(member_of(row, spec) for spec in look.columns.values()):
            bad.append(Dropped(row.key, row.shard, "row has none of the columns", ", ".join(row.members)))
        if self.config.decode and "json" in row.members:
            try:
                self._check_labels(look, bad)
            except SkipSample as error:
                bad.append(Dropped(row.key, row.shard, "JSON does not read", first_line(error)))
        return bad

    def _check_labels(self, look: Look, bad: list[Dropped]) -> None:
        info = look.row.info()
        for name, label in self.source.manifest.labels.items():
            value = info.get(label.field)
            if value is not None and str(value) not in label.classes:
                detail = f"'{value}' of field '{label.field}' is no class of label '{name}'"
                bad.append(Dropped(look.row.key, look.row.shard, "label is no class", detail))

    def check_keys(self, _: int) -> Done:
        """Check that keys are unique over all shards, and gather the bad rows."""
        seen: set[str] = set()
        repeated: list[Dropped] = []
        path = self.workspace.folder / BAD
        with self.workspace.writing(path) as stream:
            for number, shard in enumerate(self.source.manifest.shards):
                stream.write(self.workspace.step_file("check", f"{number:06d}.bad.jsonl").read_bytes())
                keys = self.workspace.step_file("check", f"{number:06d}.keys.json").read_text(encoding="utf-8")
                for key in json.loads(keys):
                    if key in seen:
                        repeated.append(Dropped(key, shard.path, "key is repeated", "another shard has it"))
                    seen.add(key)
            for each in repeated:
                stream.write((json.dumps(each.as_row(), ensure_ascii=False) + "\n").encode("utf-8"))
        facts = {"bad": {"key is repeated": len(repeated)} if repeated else {}}
        return Done(files=(path,), counts={"problems": len(repeated)}, facts=facts)

    def _problems(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for marker in [*self.workspace.markers("check"), *self.workspace.markers("keys")]:
            total.update(marker["facts"]["bad"])
        return total

    def findings(self) -> Findings:
        """Problems by kind and rows that have each column."""
        present: Counter[str] = Counter()
        for marker in self.workspace.markers("check"):
            present.update(marker["facts"]["present"])
        problems: dict[str, Any] = dict(self._problems().most_common()) or {"nothing wrong found": ""}
        return Findings(tables={"Problems": problems, "Rows with each column": dict(present)}, outputs=[BAD])

    def verdict(self) -> int:
        """1 if there is any problem."""
        return 1 if self._problems() else 0
