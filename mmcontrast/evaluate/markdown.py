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
    trees = [read_result(location)[1] for location in locations]
    suites = {tree["suite"] for tree in trees}
    if len(suites) > 1:
        raise ConfigError(f"the results are of different suites: {', '.join(sorted(suites))}. Name those of one.")
    lines = [_row(HEADINGS), _row(["---", "---", *["---:"] * (len(HEADINGS) - 2)])]
    for label, report in trees[0]["evaluators"].items():
        for position, name in enumerate(report["metrics"]):
            metrics = [_metric(tree, label, name) for tree in trees]
            title = (report["title"] or label) if position == 0 else ""
            lines.append(_row([title, name, *_numbers([metric for metric in metrics if metric is not None])]))
    return "\n".join(lines)


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
