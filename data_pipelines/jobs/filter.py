"""Keep the rows that pass every filter; measure first, judge afterwards, and say why each row went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Annotated, Any

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter
from data_pipelines.job import JOBS, Findings, Step
from data_pipelines.media import Look, first_line
from data_pipelines.rows import Dropped, Row, captions, member_of, require_columns
from data_pipelines.shard_job import ShardJob, ShardJobConfig
from data_pipelines.workspace import Done
from mmcontrast.config import OneOf, config
from mmcontrast.errors import ConfigError, SkipSample

TOGETHER = 64  # rows measured at a time
MAX_PLOTTED = 200_000


@JOBS.register("filter")
class FilterJob(ShardJob):
    """Drop rows and captions by length, language, size, shape, duration, silence, CAT, or a model's score."""

    @config
    class Config(ShardJobConfig):
        """Which filters, by a name of your own."""

        filters: dict[str, Annotated[Any, OneOf(FILTERS)]]  # all must pass; the first that fails is the reason

    @cached_property
    def filters(self) -> dict[str, Filter]:
        """The filters, built."""
        if not self.config.filters:
            raise ConfigError("filters: expected at least one, as in filters.short.type=caption_length.")
        manifest = self.source.manifest
        built = {name: FILTERS.build(each, manifest=manifest) for name, each in self.config.filters.items()}
        for name, each in built.items():
            require_columns(manifest, each.reads, what=f"filters.{name}")
        return built

    def inputs(self) -> dict[str, str]:
        """The source's digest and those of the filters' models."""
        result = super().inputs()
        for each in self.filters.values():
            result |= each.inputs()
        return result

    def prepare(self) -> list[Step]:
        """Measure every shard, then settle the limits that depend on all values."""
        return [Step("measure", len(self.source), self.measure), Step("settle", 1, self.settle)]

    # ------------------------------------------------------------ measuring

    def measure(self, number: int) -> Done:
        """Measure one shard's rows and captions with every filter."""
        rows = self.source.rows(number)
        lines: list[dict[str, Any]] = []
        while batch := list(islice(rows, TOGETHER)):
            lines += self._measure(batch)
        listed = self.workspace.write_rows(self.workspace.step_file("measure", f"{number:06d}.jsonl"), lines)
        return Done(files=(listed,))

    def _measure(self, rows: list[Row]) -> list[dict[str, Any]]:
        looks = [Look(row, self.source.manifest) for row in rows]
        lines: list[dict[str, Any]] = [{"values": {}, "damage": ""} for _ in rows]
        for look, line in zip(looks, lines, strict=True):
            try:
                texts = look.captions if look.has("text") else []
            except SkipSample as error:
                line["damage"] = first_line(error)
                continue
            for name, each in self.filters.items():
                if each.scope == "caption":
                    line["values"][name] = [each.measure_caption(text) for text in texts]
        for name, each in self.filters.items():
            if each.scope == "row":
                self._measure_row(name, each, looks, lines)
        return lines

    def _measure_row(self, name: str, each: Filter, looks: list[Look], lines: list[dict[str, Any]]) -> None:
        whole = []
        for look, line in zip(looks, lines, strict=True):
            if line["damage"]:
                continue
            try:
                _decode(look)
            except SkipSample as error:
                line["damage"] = first_line(error)
                continue
            whole.append((look, line))
        values = each.measure_many([look for look, _ in whole])
        for (_, line), value in zip(whole, values, strict=True):
            line["values"][name] = value

    def _measured(self, number: int) -> list[dict[str, Any]]:
        text = self.workspace.step_file("measure", f"{number:06d}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def settle(self, _: int) -> Done:
        """Decide the limits that depend on the whole set's values."""
        settled = {name: each.settle(self._numbers(name)) for name, each in self.filters.items()}
        return Done(facts={"settled": settled})

    def _numbers(self, name: str) -> list[float]:
        numbers: list[float] = []
        for shard in range(len(self.source)):
            for line in self._measured(shard):
                value = line["values"].get(name)
                numbers += [each for each in (value if isinstance(value, list) else [value]) if _is_number(each)]
        return numbers

    # -------------------------------------------------------------- judging

    @cached_property
    def settled(self) -> dict[str, float | None]:
        """Limits by filter."""
        result: dict[str, float | None] = self.workspace.read_marker("settle", 0)["facts"]["settled"]
        return result

    def process(self, number: int, rows: Iterator[Row]) -> Iterator[Row | Dropped]:
        """Judge rows by what was measured."""
        for row, line in zip(rows, self._measured(number), strict=True):
            yield self._judge(row, line)

    def _judge(self, row: Row, line: dict[str, Any]) -> Row | Dropped:
        if line["damage"]:
            return Dropped(row.key, row.shard, "does not decode", line["damage"])
        for name, each in self.filters.items():
            value = line["values"].get(name)
            if each.scope == "caption" or value is None:
                continue
            reason = each.reason(value, self.settled[name])
            if reason is not None:
                return Dropped(row.key, row.shard, f"{name}: {reason}", _say(value))
        return self._judge_captions(row, line)

    def _judge_captions(self, row: Row, line: dict[str, Any]) -> Row | Dropped:
        measured = {
            name: line["values"].get(name, []) for name, each in self.filters.items() if each.scope == "caption"
        }
        spec = self.source.manifest.columns.get("text")
        if not measured or spec is None:
            return row
        texts = captions(row, spec)
        if not texts:
            return row
        kept, why = [], ("", "")
        for place, text in enumerate(texts):
            failed = ""
            for name, values in measured.items():
                reason = self.filters[name].reason(values[place], self.settled[name])
                if reason is not None:
                    failed, why = reason, (f"{name}: {reason}", f"{_say(values[place])}: {text[:100]}")
                    break
            if not failed:
                kept.append(text)
        if not kept:
            return Dropped(row.key, row.shard, *why)
        if len(kept) == len(texts):
            return row
        if spec.field is not None:
            return row.with_info(**{spec.field: kept})
        extension = member_of(row, spec)
        assert extension is not None, "captions were read from it"
        return Row(row.key, {**row.members, extension: "\n".join(kept).encode("utf-8")}, row.shard)

    def findings(self) -> Findings:
        """Reasons, settled limits, and the distribution of every measured number."""
        found = super().findings()
        limits = {name: f"{value:.4g}" for name, value in self.settled.items() if value is not None}
        if limits:
            found.tables["Limits settled over the whole set"] = limits
        for name, each in self.filters.items():
            numbers = self._numbers(name)
            found.histograms[f"{name}: {each.unit}"] = numbers[:: max(1, len(numbers) // MAX_PLOTTED)]
        return found


def _decode(look: Look) -> None:
    if look.has("image"):
        _ = look.image
    if look.has("audio"):
        _ = look.sound


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == value and abs(value) != float("inf")


def _say(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
