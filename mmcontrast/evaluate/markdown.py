"""Results of one suite, of one run or of several seeds, as a Markdown table for a README or a note."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.suite import read_result
from mmcontrast.evaluate.table import interval_text, written

HEADINGS = ("held-out evaluation", "metric", "value", "range", "chance", "shuffled", "untrained", "target")


def markdown_table(locations: list[Path]) -> str:
    """Return the mean of every metric over the results, with its range, controls and target.

    With one result the range is the metric's 95% interval; with several it goes from the lowest to the highest.

    Raises:
        ConfigError: a location holds no result, or they are of different suites.
    """
    trees = _of_one_suite(locations)
    lines = [_row(HEADINGS), _row(["---", "---", *["---:"] * (len(HEADINGS) - 2)])]
    for label, report in trees[0]["evaluators"].items():
        for position, name in enumerate(report["metrics"]):
            metrics = [_metric(tree, label, name) for tree in trees]
            title = (report["title"] or label) if position == 0 else ""
            lines.append(_row([title, name, *_numbers([metric for metric in metrics if metric is not None])]))
    return "\n".join(lines)


def against_table(locations: list[Path], others: list[Path]) -> str:
    """Return the mean of every metric over the results beside its mean over others, and the difference.

    A metric that one side lacks has no row.

    Raises:
        ConfigError: a location holds no result, they are of different suites, or they share no metric.
    """
    trees = _of_one_suite([*locations, *others])
    sides = (trees[: len(locations)], trees[len(locations) :])
    headings = ("held-out evaluation", "metric", "these", "others", "difference")
    lines = [_row(headings), _row(["---", "---", "---:", "---:", "---:"])]
    for label, report in trees[0]["evaluators"].items():
        title = report["title"] or label
        for name in report["metrics"]:
            found = [[metric for tree in side if (metric := _metric(tree, label, name))] for side in sides]
            if all(found):
                these, those = (statistics.fmean(metric["value"] for metric in side) for side in found)
                unit = found[0][0]["unit"]
                apart = f"{'+' if these >= those else '-'}{written(abs(these - those), unit)}"
                lines.append(_row([title, name, written(these, unit), written(those, unit), apart]))
                title = ""
    if len(lines) == 2:
        raise ConfigError("the results share no metric. Name results of one suite, and models with the same towers.")
    return "\n".join(lines)


def _of_one_suite(locations: list[Path]) -> list[dict[str, Any]]:
    trees = [read_result(location)[1] for location in locations]
    suites = {tree["suite"] for tree in trees}
    if len(suites) > 1:
        raise ConfigError(f"the results are of different suites: {', '.join(sorted(suites))}. Name those of one.")
    return trees


def _metric(tree: dict[str, Any], label: str, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = tree["evaluators"].get(label, {"metrics": {}})["metrics"].get(name)
    return None if found is None or found["value"] is None else found


def _numbers(metrics: list[dict[str, Any]]) -> list[str]:
    if not metrics:
        return ["-"] * (len(HEADINGS) - 2)
    unit, values = metrics[0]["unit"], [metric["value"] for metric in metrics]
    spread = f"{written(min(values), unit)} to {written(max(values), unit)}"
    controls = [
        [metric["controls"][name] for metric in metrics if metric["controls"].get(name) is not None]
        for name in ("shuffled", "untrained")
    ]
    return [
        written(statistics.fmean(values), unit),
        interval_text(metrics[0]) if len(metrics) == 1 else spread,
        written(metrics[0]["chance"], unit),
        *(written(statistics.fmean(each) if each else None, unit) for each in controls),
        _target(metrics),
    ]


def _target(metrics: list[dict[str, Any]]) -> str:
    target = metrics[0]["target"]
    if target is None:
        return ""
    reached = sum(metric["value"] >= target for metric in metrics)
    goal = written(target, metrics[0]["unit"])
    if reached == len(metrics):
        return f"{goal} reached"
    return f"{goal} **missed**" if reached == 0 else f"{goal} reached by {reached} of {len(metrics)}"


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
