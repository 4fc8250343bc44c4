"""``mmcontrast checkpoint show | verify | consolidate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcontrast.errors import CheckpointError

if TYPE_CHECKING:
    from mmcontrast.checkpoint import Weights


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("show", help="list checkpoints and what they hold")
    add.add_argument("location", type=Path, metavar="RUN", help="a run folder, a checkpoints folder or a checkpoint")
    add.set_defaults(call=_show)
    add = commands.add_parser("verify", help="check every byte; exit code 2 when something is damaged")
    add.add_argument("location", type=Path, metavar="RUN", help="a run folder, a checkpoints folder or a checkpoint")
    add.set_defaults(call=_verify)
    add = commands.add_parser(
        "consolidate", help="write the weights of the newest valid one as one file, adapters merged"
    )
    add.add_argument("location", type=Path, metavar="RUN", help="a run folder, a checkpoints folder or a checkpoint")
    add.add_argument("file", type=Path, metavar="FILE.safetensors", help="is created; must not exist")
    add.add_argument("--weights", choices=["raw", "ema"], default="raw", help="as trained, or their moving average")
    add.set_defaults(call=_consolidate)


def locate(location: Path) -> list[Path]:
    """Return the checkpoint folders that a run, a checkpoints folder or one checkpoint means, oldest first.

    Raises:
        CheckpointError: there is none.
    """
    from mmcontrast.checkpoint import folder as files

    if not location.is_dir():
        raise CheckpointError(f"'{location}' is no folder. Expected a run folder, its checkpoints, or one of them.")
    if (location / files.MANIFEST).is_file():
        return [location]
    inner = location / "checkpoints" if (location / "checkpoints").is_dir() else location
    found = files.folders(inner)
    if not found:
        raise CheckpointError(f"no checkpoint under '{location}'.")
    return found


def consolidate(location: Path, file: Path, *, weights: Weights = "raw") -> Path:
    """Write the weights of the newest valid checkpoint, with where they come from, as one safetensors file.

    Adapters are merged into the weights beside which they were trained.

    Args:
        weights: as trained, or their moving average.

    Raises:
        CheckpointError: nothing valid, no average in it, or the file exists or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from mmcontrast.checkpoint import folder as files
    from mmcontrast.merging import merged_model_state

    path = files.find(location)
    if file.exists():
        raise CheckpointError(f"'{file}' exists already. Remove it, or name another file.")
    state = files.load_state(path)
    about = {"step": str(state["clock"]["step"]), "from": path.name, "config": json.dumps(state.get("config"))}
    about["weights"] = weights
    try:
        save_file(merged_model_state(path, weights=weights), file, metadata=about)
    except (OSError, SafetensorError) as error:
        file.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write '{file}': {error}") from error
    return path


def _show(parsed: argparse.Namespace) -> int:
    for path in locate(parsed.location):
        try:
            print(describe(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path.name}  unreadable: {error}")
    return 0


def describe(path: Path) -> str:
    """Return one line on a checkpoint, without reading its weights."""
    from mmcontrast.checkpoint import folder as files

    state: dict[str, Any] = files.load_state(path)
    clock, versions = state["clock"], state.get("versions", {})
    size = sum(file.stat().st_size for file in path.iterdir())
    metrics = state.get("metrics", {})
    parts = [
        path.name,
        f"{clock['rows']:,} rows",
        f"{clock['seconds']:.0f} s",
        f"{size / 2**20:.1f} MiB",
        f"{state['world_size']} rank(s)" if "world_size" in state else "",
        f"loss {metrics['loss']:.4f}" if "loss" in metrics else "",
        f"torch {versions['torch']}" if "torch" in versions else "",
        "moving average" if (path / files.AVERAGED).is_file() else "",
    ]
    return "  ".join(part for part in parts if part)


def _verify(parsed: argparse.Namespace) -> int:
    from mmcontrast.checkpoint import folder as files

    damaged = 0
    for path in locate(parsed.location):
        problem = files.verify(path)
        damaged += problem is not None
        print(f"{path.name}  {problem or 'sound'}")
    return 2 if damaged else 0


def _consolidate(parsed: argparse.Namespace) -> int:
    path = consolidate(parsed.location, parsed.file, weights=parsed.weights)
    which = "weights" if parsed.weights == "raw" else "moving average of the weights"
    print(f"{parsed.file}: {which} of {path}")
    return 0
