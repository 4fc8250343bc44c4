"""Leave out rows that repeat an earlier row, or a row of an evaluation set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from data_pipelines.job import JOBS, Step
from data_pipelines.media import Look, first_line
from data_pipelines.rows import Dropped, Row, ShardFolder, open_folder, require_columns
from data_pipelines.shard_job import ShardJob, ShardJobConfig
from data_pipelines.signatures import SIGNATURES
from data_pipelines.signatures.base import Signature
from data_pipelines.workspace import Done
from mmcontrast.config import OneOf, config
from mmcontrast.errors import ConfigError, SkipSample


@JOBS.register("dedup")
class Dedup(ShardJob):
    """Drop rows that repeat an earlier one or an evaluation set's: bytes, hashes, fingerprints, MinHash, embeddings.

    In the order of the set, a row goes if it matches a row that stays: every dropped row has a partner within the
    limit, which its reason names.  Rows of ``against`` come first and always stay.
    """

    @config
    class Config(ShardJobConfig):
        """What counts as the same."""

        signatures: dict[str, Annotated[Any, OneOf(SIGNATURES)]]  # any of them is enough, by a name of your own
        against: tuple[str, ...] = ()  # evaluation sets: their near-duplicates leave the source

    @cached_property
    def signatures(self) -> dict[str, Signature]:
        """The signatures, built."""
        if not self.config.signatures:
            raise ConfigError("signatures: expected at least one, as in signatures.bytes.type=exact.")
        return {name: SIGNATURES.build(each) for name, each in self.config.signatures.items()}

    @cached_property
    def sets(self) -> list[ShardFolder]:
        """The evaluation sets, then the source."""
        return [*(open_folder(each) for each in self.config.against), self.source]

    @cached_property
    def shards(self) -> list[tuple[ShardFolder, int]]:
        """Every shard of every set, in order: one task each."""
        return [(each, number) for each in self.sets for number in range(len(each))]

    def inputs(self) -> dict[str, str]:
        """Digests of all sets and models."""
        result = {each: open_folder(each).manifest.sha256() for each in self.config.against} | super().inputs()
        for name, each in self.signatures.items():
            for source in self.sets:
                if not any(column in source.manifest.columns for column in each.reads()):
                    require_columns(source.manifest, each.reads(), what=f"signatures.{name}")
            result |= each.inputs()
        return result

    def prepare(self) -> list[Step]:
        """Sign every shard, then compare."""
        return [Step("sign", len(self.shards), self.sign), Step("match", 1, self.match)]

    def sign(self, task: int) -> Done:
        """Write one shard's signatures, its keys, and why rows do not decode: those have no signature and go."""
        source, number = self.shards[task]
        looks = [Look(row, source.manifest) for row in source.rows(number)]
        damage = self._damage(looks)
        looks = [
            Look(Row(look.row.key, {}, look.row.shard), source.manifest) if why else look
            for look, why in zip(looks, damage, strict=True)
        ]
        files = [self.workspace.step_file("sign", f"{task:06d}.{name}.json") for name in ("keys", "damage")]
        self.workspace.write_json(files[0], [look.row.key for look in looks])
        self.workspace.write_json(files[1], damage)
        for name, each in self.signatures.items():
            signed = each.sign(looks)
            path = self.workspace.step_file("sign", f"{task:06d}.{name}.npy")
            with self.workspace.writing(path) as stream:
                np.save(stream, signed, allow_pickle=False)
            files.append(path)
        return Done(files=tuple(files))

    def _damage(self, looks: list[Look]) -> list[str]:
        """Why each row cannot be signed; empty where it can."""
        damage = ["" for _ in looks]
        for each in self.signatures.values():
            for place, look in enumerate(looks):
                try:
                    each.probe(look)
                except SkipSample as error:
                    damage[place] = first_line(error)
        return damage

    def match(self, _: int) -> Done:
        """Decide which rows of the source go, and because of which."""
        kept_sets = sum(each.manifest.rows for each in self.sets[:-1])
        names = self._names()
        pairs: dict[int, list[tuple[int, str, str]]] = {}
        for name, each in self.signatures.items():
            parts = [
                np.load(self.workspace.step_file("sign", f"{task:06d}.{name}.npy"), allow_pickle=False)
                for task in range(len(self.shards))
            ]
            for pair in each.pairs(parts):
                pairs.setdefault(pair.second, []).append((pair.first, name, pair.how))
        gone = first_stays(pairs, start=kept_sets)
        rows = [
            {"row": place - kept_sets, "name": name, "of": names[first], "how": how}
            for place, (first, name, how) in sorted(gone.items())
        ]
        path = self.workspace.write_rows(self.workspace.step_file("match", "gone.jsonl"), rows)
        return Done(files=(path,))

    def _names(self) -> list[str]:
        names: list[str] = []
        for task, (source, number) in enumerate(self.shards):
            keys = self.workspace.step_file("sign", f"{task:06d}.keys.json").read_text(encoding="utf-8")
            names += [f"{source.name}/{source.manifest.shards[number].path}/{key}" for key in json.loads(keys)]
        return names

    @cached_property
    def gone(self) -> dict[int, dict[str, Any]]:
        """Rows of the source that go, by place."""
        lines = self.workspace.step_file("match", "gone.jsonl").read_text(encoding="utf-8").splitlines()
        return {row["row"]: row for row in map(json.loads, lines)}

    def process(self, number: int, rows: Iterator[Row]) -> Iterator[Row | Dropped]:
        """Drop what the comparison decided."""
        start = sum(shard.rows for shard in self.source.manifest.shards[:number])
        task = len(self.shards) - len(self.source) + number
        damage = self.workspace.step_file("sign", f"{task:06d}.damage.json").read_text(encoding="utf-8")
        for place, (row, why) in enumerate(zip(rows, json.loads(damage), strict=True), start=start):
            if why:
                yield Dropped(row.key, row.shard, "does not decode", why)
                continue
            found = self.gone.get(place)
            if found is None:
                yield row
            else:
                set_name = found["of"].split("/")[0]
                reason = f"{found['name']}: repeats a row of {set_name}"
                yield Dropped(row.key, row.shard, reason, f"{found['how']}: {found['of']}")


def first_stays(pairs: dict[int, list[tuple[int, str, str]]], *, start: int) -> dict[int, tuple[int, str, str]]:
    """Walk rows from ``start`` in order; a row goes if one of its earlier partners stays."""
    gone: dict[int, tuple[int, str, str]] = {}
    for place in sorted(pairs):
        if place < start:
            continue
        partner = next((each for each in sorted(pairs[place]) if each[0] not in gone), None)
        if partner is not None:
            gone[place] = partner
    return gone
