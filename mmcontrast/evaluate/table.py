"""The table that an evaluation prints."""

from __future__ import annotations

import sys
from typing import Any

COLUMNS = ("shuffled", "untrained")  # controls that nearly every metric has
MISSING_NAMED = 3  # rows of an evaluation that could not be used, named below the table
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
    """Print every metric of a result with its interval, controls and target, without empty columns."""
    from rich.table import Table

    metrics = [metric for report in tree["evaluators"].values() for metric in report["metrics"].values()]
    controls = [name for name in COLUMNS if any(name in metric["controls"] for metric in metrics)]
    aimed = any(metric["target"] is not None for metric in metrics)
    table = Table(title=f"{tree['suite']}: shares in percent", title_justify="left")
    for name in ("evaluation", "metric"):
        table.add_column(name)
    for name in ("value", "95% interval", "chance", *controls):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("other controls")
    for name in (*(("target", "") if aimed else ()), "queries"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, report in tree["evaluators"].items():
        for position, (name, metric) in enumerate(report["metrics"].items()):
            unit, reached = metric["unit"], verdict(metric)
            color = {"reached": "green", "not reached": "red"}.get(reached)
            goal = f"[{color}]{reached}[/{color}]" if color else ""
            table.add_row(
                (report["title"] or label) if position == 0 else "",
                name,
                f"[bold]{written(metric['value'], unit)}[/bold]",
                interval_text(metric),
                written(metric["chance"], unit),
                *(written(metric["controls"].get(each), unit) for each in controls),
                _in_lines(other_controls(metric)),
                *((written(metric["target"], unit), goal) if aimed else ()),
                f"{metric['count']:,}",
            )
        table.add_section()
    out = console(170)
    out.print(table)
    _print_remarks(tree, out)


def _print_remarks(tree: dict[str, Any], out: Any) -> None:
    """What was skipped, not run, noted or missing, and how many targets were reached."""
    for label, reason in tree["skipped"].items():
        out.print(f"skipped {label}: {reason}", highlight=False, markup=False)
    for label, reason in (tree.get("absent", {}) | tree.get("failed", {})).items():
        out.print(f"not run {label}: {reason}", highlight=False, markup=False)
    for label, report in tree["evaluators"].items():
        for note in report.get("notes", []):
            out.print(f"note on {label}: {note}", highlight=False, markup=False)
        if report["num_missing"]:
            words = f"{label}: {report['num_missing']:,} rows could not be used, {report['num_rows']:,} were:"
            out.print("\n  ".join([words, *report["missing"][:MISSING_NAMED]]), highlight=False, markup=False)
            if report["num_missing"] > MISSING_NAMED:
                out.print("  ..., see results.json", highlight=False)
    goals = [verdict(metric) for report in tree["evaluators"].values() for metric in report["metrics"].values()]
    if any(goals):
        out.print(f"targets reached: {goals.count('reached')} of {len(goals) - goals.count('')}", highlight=False)
