"""The ``plan`` command; what measures is imported when it is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.errors import ConfigError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what ``plan`` takes."""
    command.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="dotted.path=value, before the options")
    command.add_argument("--gpus", type=int, default=1, metavar="N", help="ranks that train together (default 1)")
    command.add_argument("--memory-gb", type=float, default=80.0, metavar="GB", help="of one GPU (default 80)")
    command.set_defaults(call=_plan)


def _plan(parsed: argparse.Namespace) -> int:
    from mmcontrast.plan.memory import plan
    from mmcontrast.plan.table import lines
    from mmcontrast.run import load_run

    if parsed.gpus < 1 or parsed.memory_gb <= 0:
        raise ConfigError(f"--gpus {parsed.gpus} --memory-gb {parsed.memory_gb:g}: both must be above 0.")
    found = plan(load_run(parsed.config, parsed.overrides), world_size=parsed.gpus)
    print("\n".join(lines(found, memory=round(parsed.memory_gb * 1e9))))
    return 0
