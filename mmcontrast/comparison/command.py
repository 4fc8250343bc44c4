"""``mmcontrast compare``: train a list of objectives under one setup, over several seeds, and report."""

from __future__ import annotations

from pathlib import Path

from mmcontrast.comparison.measure import measured
from mmcontrast.comparison.numbers import Number
from mmcontrast.comparison.report import write_report
from mmcontrast.comparison.setup import read_comparison, runs_of
from mmcontrast.run import check


def compare(path: Path, overrides: list[str] | None = None) -> Path:
    """Train, evaluate and report; what a former call finished is kept.  Returns the report's path.

    The report is written anew after each run, over the seeds that are done.

    Raises:
        MMContrastError: a config that cannot work, before anything is trained; or a run that failed.
    """
    comparison = read_comparison(path, overrides)
    runs = runs_of(comparison, beside=path.parent)
    for run in runs.values():
        check(run)
    found: dict[str, list[dict[str, float]]] = {}
    report = comparison.out / "report.html"
    for number, ((name, seed), run) in enumerate(runs.items(), start=1):
        print(f"[{number}/{len(runs)}] {name}, seed {seed}: {run.steps} steps in {run.out}", flush=True)
        found.setdefault(name, []).append(measured(run, comparison.suite))
        report = write_report(comparison, {each: over_seeds(rows) for each, rows in found.items()}, steps=run.steps)
    return report


def over_seeds(rows: list[dict[str, float]]) -> dict[str, Number]:
    """Gather each measure that every seed has."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: Number([row[name] for row in rows]) for name in names}
