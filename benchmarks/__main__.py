"""``python -m benchmarks NAME [--json]``."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

NAMES = (
    "loss",
    "objectives",
    "order",
    "loader",
    "index",
    "step",
    "eval",
    "reliability",
    "export",
    "search",
    "audio",
    "probes",
    "pipelines",
)


def main() -> int:
    """Run one benchmark; print its table, or its rows as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: python -m benchmarks step --json > benchmarks/results/step.json",
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print rows of name, ours, peer, ratio, unit, setting")
    parser.add_argument("--full", action="store_true", help="reliability: as many faults as the bars name (minutes)")
    parser.add_argument("--share", type=float, help="eval, objectives, search: of the full size, where time is short")
    parsed = parser.parse_args()
    if parsed.full and parsed.name != "reliability":
        parser.error("--full belongs to reliability")
    if parsed.share is not None and parsed.name not in ("eval", "objectives", "search"):
        parser.error("--share belongs to eval, objectives and search")
    options: dict[str, Any] = {"full": True} if parsed.full else {}
    if parsed.share is not None:
        options["share"] = parsed.share
    rows = importlib.import_module(f"benchmarks.{parsed.name}").measure(**options)
    if parsed.json:
        print(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{parsed.name} on {machine()}", title_justify="left")
    for heading in ("name", "ours", "peer", "ratio", "unit", "setting"):
        table.add_column(heading, justify="left" if heading in ("name", "unit", "setting") else "right")
    for row in rows:
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.peer:.4g}", f"{row.ratio:.2f}x", row.unit, row.setting)
    Console(width=150).print(table)
    return 0


def machine() -> str:
    """The processor, its threads in use, and torch's version."""
    import torch

    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else (names or [platform.machine()])[0]
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
