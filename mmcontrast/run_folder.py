"""The folder of one run: its config, and the refusal to mix two configs in it."""

from __future__ import annotations

import json
import os
import platform
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmcontrast import comm
from mmcontrast.config import dump, flatten, parse, parse_yaml, to_tree
from mmcontrast.errors import ConfigError, LaunchError, RunFolderError
from mmcontrast.run import ENGINE_NUMBERS, FREE_FIELDS, Run
from mmcontrast.tuning.fields import TowerTraining

CONFIG_NAME = "config.yaml"
PACKAGES = ("mmcontrast", "torch", "numpy", "deepspeed", "timm", "open_clip_torch")


def open_run_folder(run: Run) -> Path:
    """Create the run folder and its config file, or accept one made by the same config.

    Raises:
        RunFolderError: the folder holds another config's run; names the fields that differ.
    """
    path = run.out / CONFIG_NAME
    run.out.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        differences = _differences(parse_yaml(path.read_text(encoding="utf-8"), where=f"'{path}'"), to_tree(run))
        if differences:
            shown = "\n".join(f"  {line}" for line in differences[:8])
            raise RunFolderError(
                f"'{run.out}' holds a run of another config:\n{shown}\n"
                "Use another folder (out=FOLDER), or the same config to resume."
            )
    if comm.rank() == 0:  # whole or not at all: other ranks read it meanwhile, and a kill may come between
        partial = path.with_name(f"{CONFIG_NAME}.partial")
        partial.write_text(dump(run), encoding="utf-8")
        os.replace(partial, path)
    return run.out


def describe(run: Run) -> dict[str, Any]:
    """Return the config and the versions of what runs it, as plain JSON, for a checkpoint."""
    return {"config": to_tree(run), "world_size": comm.world_size(), "versions": versions()}


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that decide a run's numbers; None: not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def check_ranks_agree(run: Run) -> None:
    """Make sure that all ranks run one config with packages of one version.  Collective.

    Raises:
        LaunchError: they do not, on every rank; names what differs from rank 0.
    """
    mine = {**versions(), **flatten(json.loads(json.dumps(to_tree(run))))}
    ranks = [json.loads(each) for each in comm.gather_bytes(json.dumps(mine).encode())]
    lines: dict[str, list[int]] = {}  # what differs -> on which ranks
    for rank, theirs in enumerate(ranks):
        for name in sorted(theirs.keys() | ranks[0].keys()):
            if theirs.get(name) != ranks[0].get(name):
                line = f"{name} is {theirs.get(name)!r}, on rank 0 {ranks[0].get(name)!r}"
                lines.setdefault(line, []).append(rank)
    if lines:
        shown = "\n".join(
            f"  rank {', '.join(map(str, where[:4]))}{' and more' if len(where) > 4 else ''}: {line}"
            for line, where in list(lines.items())[:8]
        )
        error = LaunchError(f"the ranks differ:\n{shown}\nStart all of them with one config and one environment.")
        error.on_every_rank = True
        raise error


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_run_folder(folder: Path) -> Run:
    """Read back the config of a run folder.

    Raises:
        RunFolderError: there is none.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise RunFolderError(f"'{folder}' is not a run folder: it has no {CONFIG_NAME}.")
    try:
        return parse(Run, parse_yaml(path.read_text(encoding="utf-8"), where=f"'{path}'"), where=str(path))
    except ConfigError as error:
        raise RunFolderError(f"the config of this run no longer reads: {error}") from error


def _differences(old: Any, new: Any) -> list[str]:
    before, after = flatten(_with_training(old)), flatten(_with_training(new))
    lines = []
    for key in sorted({*before, *after}):
        if any(fnmatchcase(key, free) or key.startswith(f"{free}.") for free in FREE_FIELDS):
            continue
        if key.startswith("engine.") and key not in ENGINE_NUMBERS:
            continue
        if before.get(key) != after.get(key):
            lines.append(f"{key}: {before.get(key)!r} there, {after.get(key)!r} here")
    return lines


def _with_training(tree: Any) -> Any:
    """The tree of a run in which every tower has its group of training fields, named or not."""
    model = tree.get("model") if isinstance(tree, dict) else None
    if not isinstance(model, dict):
        return tree
    groups = {name: to_tree(TowerTraining()) for name in model.get("towers", {})}
    return {**tree, "model": {**model, "training": {**groups, **model.get("training", {})}}}
