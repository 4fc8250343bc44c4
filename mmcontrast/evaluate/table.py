"""The table that an evaluation prints."""

from __future__ import annotations

import sys
from typing import Any

from mmcontrast.evaluate.suite import SuiteResult


def percent(value: float | None) -> str:
    """A share as a percentage with one digit, or a dash."""
    return "-" if value is None else f"{100 * value:.1f}"


def print_table(result: SuiteResult) -> None:
    """Print every metric with its interval, controls and target."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result.name} (percent)", title_justify="left")
    for name in ("evaluation", "metric"):
        table.add_column(name)
    for name in ("value", "95% interval", "chance", "shuffled", "untrained", "target", "", "queries"):
        table.add_column(name, justify="right")
    for label, report in result.reports.items():
        for position, (name, metric) in enumerate(report.metrics.items()):
            goal = result.target(label, name)
            verdict = "" if goal is None else ("reached" if metric.value >= goal else "MISSED")
            table.add_row(
                (report.title or label) if position == 0 else "",
                name,
                percent(metric.value),
                f"{percent(metric.low)} to {percent(metric.high)}",
                percent(metric.chance),
                percent(metric.controls.get("shuffled")),
                percent(metric.controls.get("untrained")),
                percent(goal),
                verdict,
                f"{metric.count:,}",
            )
        table.add_section()
    # A pipe has no width of its own; the table keeps its columns there.
    options: dict[str, Any] = {} if sys.stdout.isatty() else {"width": 150}
    console = Console(**options)
    console.print(table)
    for label, reason in result.skipped.items():
        console.print(f"skipped {label}: {reason}")
    missing = sum(len(report.missing) for report in result.reports.values())
    if missing:
        console.print(f"{missing} rows did not decode; results.json names them")
