"""The table that an evaluation prints."""

from __future__ import annotations

import sys
from typing import Any

COLUMNS = ("shuffled", "untrained")  # controls that nearly every metric has
CONTROLS_WIDTH = 30  # characters of the column of the other controls


def written(value: float | None, unit: str = "share") -> str:
    """A share as a percentage with one digit, a number with three, or a dash."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if unit == "share" else f"{value:.3f}"


def interval_text(metric: dict[str, Any]) -> str:
    """A metric's 95% interval, or nothing."""
    if metric["low"] is None:
        return ""
    return f"{written(metric['low'], metric['unit'])} to {written(metric['high'], metric['unit'])}"


def other_controls(metric: dict[str, Any]) -> list[str]:
    """Controls of a metric that have no column of their own, as ``name value``, in the order of the names."""
    return [
        f"{name.replace('_', ' ')} {written(value, metric['unit'])}"
        for name, value in sorted(metric["controls"].items())
        if name not in COLUMNS and value is not None
    ]


def _in_lines(words: list[str]) -> str:
    """Join with commas, and break lines between words and never inside of one."""
    lines = [""]
    for number, word in enumerate(words, start=1):
        comma = "," if number < len(words) else ""
        if lines[-1] and len(f"{lines[-1]} {word}{comma}") > CONTROLS_WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}{comma}".strip()
    return "\n".join(lines)


def verdict(metric: dict[str, Any]) -> str:
    """Whether a metric reached its target; empty without one."""
    if metric["target"] is None:
        return ""
    return "reached" if metric["value"] is not None and metric["value"] >= metric["target"] else "not reached"


def console(width: int) -> Any:
    """A rich console; a pipe has no width of its own and gets this one, so that tables keep their columns."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=width)


def print_table(tree: dict[str, Any]) -> None:
    """Print every metric of a result with its interval, controls and target."""
    from rich.table import Table

    table = Table(title=f"{tree['suite']}: shares in percent", title_justify="left")
    for name in ("evaluation", "metric"):
        table.add_column(name)
    for name in ("value", "95% interval", "chance", *COLUMNS):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("other controls")
    for name in ("target", "", "queries"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, report in tree["evaluators"].items():
        for position, (name, metric) in enumerate(report["metrics"].items()):
            unit, reached = metric["unit"], verdict(metric)
            color = {"reached": "green", "not reached": "red"}.get(reached)
            table.add_row(
                (report["title"] or label) if position == 0 else "",
                name,
                f"[bold]{written(metric['value'], unit)}[/bold]",
                interval_text(metric),
                written(metric["chance"], unit),
                *(written(metric["controls"].get(each), unit) for each in COLUMNS),
                _in_lines(other_controls(metric)),
                written(metric["target"], unit),
                f"[{color}]{reached}[/{color}]" if color else "",
                f"{metric['count']:,}",
            )
        table.add_section()
    out = console(170)
    out.print(table)
    for label, reason in tree["skipped"].items():
        out.print(f"skipped {label}: {reason}", highlight=False)
    for label, reason in (tree.get("absent", {}) | tree.get("failed", {})).items():
        out.print(f"not run {label}: {reason}", highlight=False)
    missing = sum(report["num_missing"] for report in tree["evaluators"].values())
    if missing:
        out.print(f"{missing:,} rows could not be used; results.json names them", highlight=False)
    goals = [verdict(metric) for report in tree["evaluators"].values() for metric in report["metrics"].values()]
    if any(goals):
        out.print(f"targets reached: {goals.count('reached')} of {len(goals) - goals.count('')}", highlight=False)
