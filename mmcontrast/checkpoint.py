"""Checkpoints: written whole or not at all, verified by checksum before they are read.

A checkpoint is a folder ``checkpoints/step-00000450`` with model.safetensors, optimizer.safetensors (written by the
engine), training.pt (random states, read with ``weights_only``), state.json, and MANIFEST.json, which names every
file's size and sha256.  It is written under another name, synced and renamed; the newest one is computed from what
verifies.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import CheckpointError

MANIFEST = "MANIFEST.json"


@dataclass
class Clock:
    """Where a run is."""

    step: int = 0  # updates done
    rows: int = 0  # rows seen, over all ranks
    seconds: float = 0.0  # time spent in the loop
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds."""

    path: Path
    model: dict[str, Tensor]
    random_state: Tensor
    clock: Clock


def folder_name(step: int) -> str:
    """Name of the checkpoint taken after ``step`` updates."""
    return f"step-{step:08d}"


def save(
    folder: Path,
    *,
    clock: Clock,
    model: dict[str, Tensor],
    save_engine: Callable[[Path], None],
    random_state: Tensor,
    keep: int,
) -> Path:
    """Write one checkpoint under ``folder`` and drop the oldest beyond ``keep``; return its path.

    Raises:
        CheckpointError: it could not be written; earlier checkpoints are untouched.
    """
    from safetensors.torch import save_file

    final = folder / folder_name(clock.step)
    temporary = folder / f".writing-{final.name}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(_unshared(model), temporary / "model.safetensors")
        save_engine(temporary)
        torch.save({"random_state": random_state}, temporary / "training.pt")
        (temporary / "state.json").write_text(
            json.dumps({"clock": asdict(clock), "torch": torch.__version__}, indent=1), encoding="utf-8"
        )
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(temporary.iterdir())
        }
        (temporary / MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        if final.exists():  # a damaged one of the same step: out of the way, not overwritten
            final.rename(folder / f".replaced-{final.name}-{os.getpid()}")
        temporary.rename(final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"cannot write checkpoint '{final}': {error}") from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return final


def verify(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None."""
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in files.items():
            file = path / name
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {entry['bytes']}"
            if file_sha256(file) != entry["sha256"]:
                return f"{name} is damaged: its sha256 differs"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST} is damaged: {error}"
    return None


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint that verifies; warn of each newer one that does not."""
    for path in sorted(folder.glob("step-*"), reverse=True):
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
    if (location / MANIFEST).is_file():
        problem = verify(location)
        if problem:
            raise CheckpointError(f"checkpoint '{location}': {problem}.")
        return location
    folder = location / "checkpoints" if (location / "checkpoints").is_dir() else location
    found = newest(folder)
    if found is None:
        raise CheckpointError(f"no valid checkpoint under '{location}'.")
    return found


def load_model_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a verified checkpoint."""
    from safetensors.torch import load_file

    return load_file(path / "model.safetensors")


def load(path: Path) -> Saved:
    """Read all of a verified checkpoint."""
    training = torch.load(path / "training.pt", map_location="cpu", weights_only=True)
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return Saved(path, load_model_state(path), training["random_state"], Clock(**state["clock"]))


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
