"""Several results side by side."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.suite import SCHEMA
from mmcontrast.evaluate.table import percent


def read_result(location: Path) -> dict[str, Any]:
    """Read a results.json, or the only one below a folder.

    Raises:
        ConfigError: none, several, or not one of ours.
    """
    found = [location] if location.is_file() else sorted(location.rglob("results.json"))
    if len(found) != 1:
        raise ConfigError(f"'{location}' holds {len(found)} results.json; name one of them.")
    tree = json.loads(found[0].read_text(encoding="utf-8"))
    if tree.get("schema") != SCHEMA:
        raise ConfigError(f"'{found[0]}' is not a result of schema {SCHEMA}.")
    return dict(tree)


def print_comparison(locations: list[Path]) -> None:
    """Print each metric's value in every result, the difference of the last to the first, and mean and spread."""
    from rich.console import Console
    from rich.table import Table

    results = [read_result(location) for location in locations]
    table = Table(title="comparison (percent)", title_justify="left")
    table.add_column("evaluation")
    table.add_column("metric")
    for location in locations:
        table.add_column(str(location), justify="right")
    for name in ("last - first", "mean", "deviation"):
        table.add_column(name, justify="right")
    names = list(dict.fromkeys(name for result in results for name in result["evaluators"]))
    for name in names:
        cells = [result["evaluators"].get(name, {}).get("metrics", {}) for result in results]
        for metric in dict.fromkeys(key for cell in cells for key in cell):
            values = [cell.get(metric, {}).get("value") for cell in cells]
            known = [value for value in values if value is not None]
            both = len(values) > 1 and values[0] is not None and values[-1] is not None
            table.add_row(
                name,
                metric,
                *[percent(value) for value in values],
                f"{100 * (values[-1] - values[0]):+.1f}" if both else "-",
                percent(statistics.fmean(known)),
                percent(statistics.stdev(known)) if len(known) > 1 else "-",
            )
    options: dict[str, Any] = {} if sys.stdout.isatty() else {"width": 110 + 20 * len(results)}
    Console(**options).print(table)
