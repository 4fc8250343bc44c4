"""One self-contained HTML page of a suite's result: no file or address outside it is needed to read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmcontrast.data.shards import open_shards, resolve
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.plots import confusion_map, interval, lines
from mmcontrast.evaluate.suite import SuiteResult
from mmcontrast.evaluate.table import percent

GALLERY_NOTES = {
    "zero_shot": "Rows in fixed steps through the set, right or wrong, with the five best answers. Green is right.",
    "retrieval": "Queries in fixed steps through the set, right or wrong, with their best answers. Green is right.",
}


def write_report(result: SuiteResult, run_folder: Path, out: Path) -> Path:
    """Draw ``out/report.html`` from a result and the run's metrics; return its path."""
    import jinja2

    source = (resolve("package:report") / "page.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True).from_string(source)
    metrics = read_metrics(run_folder / "metrics.jsonl")
    page = template.render(
        heading=f"{run_folder.name}: {result.name} evaluation",
        subtitle=f"checkpoint {result.about.get('checkpoint', '?')}, "
        f"weights {str(result.about.get('weights_sha256', '?'))[:12]}",
        tiles=_tiles(result, metrics),
        rows=_rows(result),
        skipped=[f"{name}: {reason}" for name, reason in result.skipped.items()],
        missing=sum(len(report.missing) for report in result.reports.values()),
        curves=_curves(metrics),
        galleries=_galleries(result.reports),
        maps=[
            {"title": report.title or name, "svg": confusion_map(**report.confusion)}
            for name, report in result.reports.items()
            if report.confusion and len(report.confusion["names"]) > 4
        ],
        classes=[
            {"title": report.title or name, "entries": _class_items(report)}
            for name, report in result.reports.items()
            if report.classes
        ],
        sets=_sets(result),
        footer=", ".join(f"{name} {version}" for name, version in result.about.get("versions", {}).items()),
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl; none when there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _tiles(result: SuiteResult, metrics: list[dict[str, Any]]) -> list[dict[str, str]]:
    goals = [
        report.metrics[metric].value >= goal
        for name, report in result.reports.items()
        for metric in report.metrics
        if (goal := result.target(name, metric)) is not None
    ]
    tiles = []
    if goals:
        tiles.append({"value": f"{sum(goals)} of {len(goals)}", "label": "targets reached"})
    for name, report in result.reports.items():
        if any(result.target(name, metric) is not None for metric in report.metrics) and len(tiles) < 5:
            value = percent(report.metrics[report.primary].value)
            tiles.append({"value": f"{value}%", "label": f"{report.title or name}, {report.primary}"})
    if metrics:
        last = metrics[-1]
        tiles.append(
            {"value": f"{last['seconds'] / 60:.1f} min", "label": f"training, {last['step']} steps, {last['rows']:,} rows"}
        )
    return tiles


def _rows(result: SuiteResult) -> list[dict[str, Any]]:
    rows = []
    for label, report in result.reports.items():
        for position, (name, metric) in enumerate(report.metrics.items()):
            goal = result.target(label, name)
            rows.append(
                {
                    "title": (report.title or label) if position == 0 else "",
                    "metric": name,
                    "value": percent(metric.value),
                    "interval": f"{percent(metric.low)} to {percent(metric.high)}",
                    "chance": percent(metric.chance),
                    "shuffled": percent(metric.controls.get("shuffled")),
                    "untrained": percent(metric.controls.get("untrained")),
                    "target": percent(goal),
                    "verdict": "" if goal is None else ("reached" if metric.value >= goal else "missed"),
                    "queries": f"{metric.count:,}",
                    "plot": interval(metric.value, metric.low, metric.high, chance=metric.chance, goal=goal),
                }
            )
    return rows


def _curves(metrics: list[dict[str, Any]]) -> list[str]:
    def series(key: str, scale: float = 1.0) -> list[tuple[float, float]]:
        return [(row["step"], scale * row[key]) for row in metrics if row.get(key) is not None]

    pairs = sorted({key for row in metrics for key in row if "/" in key and "-" in key and "." not in key})
    scales = sorted({key for row in metrics for key in row if key.endswith(".logit_scale")})
    plots = [
        lines({"loss": series("loss")}, title="loss"),
        lines({key.split("/")[1]: series(key) for key in pairs}, title="loss of each pair"),
        lines({key.split("/")[1].removesuffix(".logit_scale"): series(key) for key in scales}, title="logit scale"),
        lines({"rate": series("learning_rate")}, title="learning rate"),
        lines({"samples": series("samples_per_second")}, title="samples per second"),
        lines({"wait": series("data_wait_fraction", 100)}, title="waiting for data, percent of the time"),
    ]
    return [plot for plot in plots if plot]


def _galleries(reports: dict[str, Report]) -> list[dict[str, Any]]:
    return [
        {
            "title": report.title or name,
            "note": GALLERY_NOTES.get(report.evaluator, ""),
            "examples": report.gallery,
            "wide": report.gallery[0].answers[0].kind != "text",
        }
        for name, report in reports.items()
        if report.gallery
    ]


def _class_items(report: Report) -> list[tuple[str, str, int]]:
    worst_last = sorted(report.classes.items(), key=lambda item: (-item[1][0], item[0]))
    return [(name, f"{100 * accuracy:.0f}", rows) for name, (accuracy, rows) in worst_last]


def _sets(result: SuiteResult) -> list[dict[str, Any]]:
    sets = []
    for source in result.about.get("data_sha256", {}):
        manifest = open_shards(source).manifest
        licences = "; ".join(f"{name}: {rows}" for name, rows in manifest.licences.items())
        sets.append({"name": manifest.name, "rows": f"{manifest.rows:,}", "licences": licences})
    return sets
