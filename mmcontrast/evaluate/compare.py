"""Several results side by side: differences to the first, paired tests, mean and spread."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcontrast.evaluate.intervals import bootstrap, mcnemar
from mmcontrast.evaluate.page import rendered
from mmcontrast.evaluate.suite import read_result
from mmcontrast.evaluate.table import console, written

Values = dict[str, tuple[float, str]]  # key -> value and cluster


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The last result minus the first, query by query."""

    difference: float
    low: float  # 95% interval, bootstrap over clusters of queries
    high: float
    count: int  # queries that both results hold
    p_value: float | None  # exact McNemar; null where values are graded or queries are not independent


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric in every result."""

    title: str
    evaluator: str
    metric: str
    unit: str
    values: list[float | None]
    mean: float | None
    deviation: float | None  # between the results; null with fewer than two
    paired: Paired | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Metrics of several results."""

    names: list[str]
    lines: list[Line]
    warnings: list[str]  # data that differs between the results


def compare_runs(locations: list[Path]) -> Comparison:
    """Put results side by side; the first is what the others are compared with.

    Raises:
        ConfigError: a location holds no result, or several.
    """
    found = [read_result(location) for location in locations]
    trees, items = [tree for _, tree in found], [read_items(path.parent) for path, _ in found]
    labels = list(dict.fromkeys(label for tree in trees for label in tree["evaluators"]))
    lines = []
    for label in labels:
        reports = [tree["evaluators"].get(label, {"metrics": {}, "title": ""}) for tree in trees]
        title = next((report["title"] for report in reports if report["title"]), label)
        for name in dict.fromkeys(name for report in reports for name in report["metrics"]):
            cells = [report["metrics"].get(name) for report in reports]
            values = [None if cell is None else cell["value"] for cell in cells]
            known = [value for value in values if value is not None]
            lines.append(
                Line(
                    title=title,
                    evaluator=label,
                    metric=name,
                    unit=next(cell["unit"] for cell in cells if cell is not None),
                    values=values,
                    mean=statistics.fmean(known) if known else None,
                    deviation=statistics.stdev(known) if len(known) > 1 else None,
                    paired=paired(items[0].get((label, name), {}), items[-1].get((label, name), {}))
                    if len(found) > 1
                    else None,
                )
            )
    return Comparison(names=_names(found), lines=lines, warnings=_warnings(trees))


def paired(first: Values, last: Values) -> Paired | None:
    """Compare two results on the queries that both hold; nothing when they share none."""
    keys = sorted(first.keys() & last.keys())
    if not keys:
        return None
    before, after = (np.array([each[key][0] for key in keys]) for each in (first, last))
    clusters = np.array([last[key][1] for key in keys])
    low, high = bootstrap(after - before, clusters)
    testable = bool(np.isin([before, after], (0, 1)).all()) and len(set(clusters)) == len(keys)
    p_value = mcnemar(int((before > after).sum()), int((after > before).sum())) if testable else None
    return Paired(difference=float((after - before).mean()), low=low, high=high, count=len(keys), p_value=p_value)


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison as one table."""
    from rich.table import Table

    table = Table(title="shares in percent; differences are last minus first, in points", title_justify="left")
    for name in ("evaluation", "metric"):
        table.add_column(name)
    for name in (*comparison.names, "mean", "deviation", "difference", "95% interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = ""
    for line in comparison.lines:
        if previous and line.evaluator != previous:
            table.add_section()
        table.add_row("" if line.evaluator == previous else line.title, line.metric, *cells(line))
        previous = line.evaluator
    out = console(120 + sum(len(name) for name in comparison.names))
    out.print(table)
    for warning in comparison.warnings:
        out.print(warning, highlight=False)


def cells(line: Line) -> list[str]:
    """A line's numbers as they are printed."""
    each = [written(value, line.unit) for value in (*line.values, line.mean, line.deviation)]
    if line.paired is None:
        both = len(line.values) > 1 and line.values[0] is not None and line.values[-1] is not None
        return [*each, _signed(line.values[-1] - line.values[0], line.unit) if both else "-", "", ""]  # type: ignore[operator]
    p_value = "" if line.paired.p_value is None else f"{line.paired.p_value:.2g}"
    low, high = (_signed(value, line.unit) for value in (line.paired.low, line.paired.high))
    return [*each, _signed(line.paired.difference, line.unit), f"{low} to {high}", p_value]


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write ``out/compare.html``; return its path."""
    page = rendered(
        "compare.html.j2",
        names=comparison.names,
        warnings=comparison.warnings,
        lines=[
            {
                "title": line.title,
                "span": sum(each.evaluator == line.evaluator for each in comparison.lines)
                if number == 0 or comparison.lines[number - 1].evaluator != line.evaluator
                else 0,
                "metric": line.metric,
                "cells": cells(line),
                "differs": line.paired is not None and (line.paired.low > 0 or line.paired.high < 0),
            }
            for number, line in enumerate(comparison.lines)
        ],
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "compare.html"
    path.write_text(page, encoding="utf-8")
    return path


def _signed(value: float, unit: str) -> str:
    return f"{100 * value:+.1f}" if unit == "share" else f"{value:+.3f}"


def _names(found: list[tuple[Path, dict[str, Any]]]) -> list[str]:
    names = [str(tree["about"].get("run") or path.parent.name) for path, tree in found]
    if len(set(names)) < len(names):  # several checkpoints of one run
        checkpoints = [str(tree["about"].get("checkpoint", "")) for _, tree in found]
        names = [f"{name} {checkpoint}".strip() for name, checkpoint in zip(names, checkpoints, strict=True)]
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, start=1)]


def _warnings(trees: list[dict[str, Any]]) -> list[str]:
    hashes: dict[str, set[str]] = {}
    for tree in trees:
        for source, facts in tree["about"].get("data", {}).items():
            hashes.setdefault(source, set()).add(facts["manifest_sha256"])
    return [f"'{source}' differs between the results" for source, seen in hashes.items() if len(seen) > 1]


def read_items(folder: Path) -> dict[tuple[str, str], Values]:
    """Values of each query, by evaluator and metric, of the result in a folder; empty where none were written."""
    path = folder / "per_item.jsonl"
    if not path.is_file():
        return {}
    result: dict[tuple[str, str], Values] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        for metric, values in line["values"].items():
            pairs = zip(values, line["clusters"], strict=True)
            result[line["evaluator"], metric] = dict(zip(line["keys"], pairs, strict=True))
    return result
