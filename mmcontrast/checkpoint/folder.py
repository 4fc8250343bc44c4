"""One checkpoint as a folder: written whole or not at all, verified by checksum before it is read.

``checkpoints/step-00000450`` holds model.safetensors, optimizer.safetensors, ema.safetensors (when weights are
averaged), ranks.pt (read with ``weights_only``), state.json and MANIFEST.json, which names every file's size and
sha256.  It is written under another name, synced and renamed; the newest one is computed from what verifies.  Nothing
here knows ranks: one process writes, any number read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import CheckpointError
from mmcontrast.optim.state import AVERAGE

MANIFEST = "MANIFEST.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
AVERAGED = "ema.safetensors"
RANKS = "ranks.pt"
STATE = "state.json"
Weights = Literal["raw", "ema"]  # as trained, or their moving average
NEEDED = (MODEL, STATE)  # what evaluation reads; resuming reads the others too
_OF_AVERAGE = f"{AVERAGE}/"


@dataclass
class Clock:
    """Where a run is."""

    step: int = 0  # updates done, skipped ones included
    batch: int = 0  # number of the next global batch: the loader's whole position
    rows: int = 0  # rows seen, over all ranks
    seconds: float = 0.0  # time spent in the loop


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint is made of, in memory that training does not touch."""

    clock: Clock
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]  # of the engine: whole tensors by name, with the average's as ema/PARAMETER
    ranks: list[dict[str, Any]]  # random states and loader counts, by rank
    about: dict[str, Any] = field(default_factory=dict)  # plain JSON: config, versions, metrics, guard


@dataclass(frozen=True)
class Saved(Snapshot):
    """What was read back from a folder."""

    path: Path = Path()


def folder_name(step: int) -> str:
    """Name of the checkpoint taken after ``step`` updates."""
    return f"step-{step:08d}"


def step_of(path: Path) -> int:
    """Number of updates in the name of a checkpoint folder."""
    return int(path.name.removeprefix("step-"))


def folders(folder: Path) -> list[Path]:
    """Checkpoint folders under ``folder``, oldest first, whether they verify or not."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name))


def save(folder: Path, snapshot: Snapshot) -> Path:
    """Write one checkpoint under ``folder``; return its path.

    Raises:
        CheckpointError: it could not be written; earlier checkpoints are untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    final = folder / folder_name(snapshot.clock.step)
    temporary = folder / f".writing-{final.name}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(_unshared(snapshot.model), temporary / MODEL)
        slots, average = _apart(snapshot.optimizer)
        save_file(_unshared(slots), temporary / OPTIMIZER)
        if average:
            save_file(_unshared(average), temporary / AVERAGED)
        torch.save(snapshot.ranks, temporary / RANKS)
        state = {"clock": asdict(snapshot.clock), **snapshot.about}
        (temporary / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(temporary.iterdir())
        }
        (temporary / MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        set_aside(final)  # a damaged one of the same step: out of the way, not overwritten
        temporary.rename(final)
        _sync(folder)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk in their own
        shutil.rmtree(temporary, ignore_errors=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot write checkpoint '{final}': {reason}") from error
    return final


def set_aside(path: Path) -> Path | None:
    """Rename a checkpoint folder to ``.aside-NAME``, so that nothing reads it again; return the new path."""
    if not path.exists():
        return None
    number = 0
    while (aside := path.with_name(f".aside-{path.name}" + (f"-{number}" if number else ""))).exists():
        number += 1
    return path.rename(aside)


def remove_unfinished(folder: Path) -> None:
    """Delete what interrupted writers left behind."""
    for path in folder.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)


def verify(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None."""
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name in NEEDED:
            if name not in files:
                return f"{MANIFEST} is damaged: it does not name {name}"
        for name, entry in files.items():
            file = path / name
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {entry['bytes']}"
            if file_sha256(file) != entry["sha256"]:
                return f"{name} is damaged: its sha256 differs"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is damaged: {error}"
    return None


def newest(folder: Path, *, before: int | None = None) -> Path | None:
    """Return the newest checkpoint that verifies; warn of each newer one that does not.

    Args:
        before: pass over checkpoints of more than so many updates.
    """
    for path in reversed(folders(folder)):
        if before is not None and step_of(path) > before:
            continue
        problem = verify(path)
        if problem is None:
            return path
        warnings.warn(f"checkpoint '{path}' is passed over: {problem}", stacklevel=2)
    return None


def find(location: Path) -> Path:
    """Return the checkpoint that a run folder, a checkpoints folder or a checkpoint path means, verified.

    Raises:
        CheckpointError: there is none that verifies.
    """
    if not location.exists():
        raise CheckpointError(f"'{location}' does not exist.")
    if (location / MANIFEST).is_file() or re.fullmatch(r"step-\d{8,}", location.name):
        problem = verify(location)
        if problem:
            raise CheckpointError(f"checkpoint '{location}': {problem}.")
        return location
    folder = location / "checkpoints" if (location / "checkpoints").is_dir() else location
    found = newest(folder)
    if found is None:
        raise CheckpointError(f"no valid checkpoint under '{location}'.")
    return found


def load_model_state(path: Path, *, weights: Weights = "raw") -> dict[str, Tensor]:
    """Read the weights of a verified checkpoint.

    Args:
        weights: ema: what is trained as its moving average, all else as it is.

    Raises:
        CheckpointError: it holds no average.
    """
    from safetensors.torch import load_file

    state = load_file(path / MODEL)
    return state if weights == "raw" else state | _average(path)


def _average(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not (path / AVERAGED).is_file():
        raise CheckpointError(
            f"checkpoint '{path}' holds no {AVERAGED}: the run averages no weights (its field ema), or had not begun "
            "to. Use the raw weights."
        )
    return load_file(path / AVERAGED)


def load_state(path: Path) -> dict[str, Any]:
    """Read state.json of a verified checkpoint: clock, config, versions, metrics."""
    return json.loads((path / STATE).read_text(encoding="utf-8"))


def load(path: Path) -> Saved:
    """Read all of a verified checkpoint.

    Raises:
        CheckpointError: it has weights alone.
    """
    if not (path / OPTIMIZER).is_file():
        raise CheckpointError(
            f"checkpoint '{path}' has no {OPTIMIZER}: it can be evaluated, but a run cannot resume from it. "
            "Train in a new folder (out=FOLDER)."
        )
    from safetensors.torch import load_file

    about = load_state(path)
    optimizer = load_file(path / OPTIMIZER)
    if (path / AVERAGED).is_file():
        optimizer |= {f"{_OF_AVERAGE}{name}": value for name, value in _average(path).items()}
    return Saved(
        clock=Clock(**about.pop("clock")),
        model=load_model_state(path),
        optimizer=optimizer,
        ranks=torch.load(path / RANKS, map_location="cpu", weights_only=True),
        about=about,
        path=path,
    )


def _apart(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The optimizer's slots, and the average by the names of the weights."""
    names = [name for name in state if name.startswith(_OF_AVERAGE)]
    slots = {name: value for name, value in state.items() if not name.startswith(_OF_AVERAGE)}
    return slots, {name.removeprefix(_OF_AVERAGE): state[name] for name in names}


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory with an earlier one: safetensors stores each by itself."""
    seen: set[int] = set()
    result = {}
    for name, tensor in state.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
