"""Tensors of a file that others wrote: nothing in it can run code, and nothing but tensors comes out."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor

from mmcontrast.errors import CheckpointError

NESTED = ("state_dict", "model")  # where weights lie beside optimizer states and counts
WRAPPED = "module."  # what data-parallel training puts before every name


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict, on the CPU.

    Args:
        path: .safetensors, or what torch.save wrote: a state dict, or a dict that holds one under ``state_dict`` or
            ``model``.  Names lose the prefix ``module.``.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"no file '{path}'.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"'{path}' does not read: {error}") from error
    found: Any = _loaded(path)
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(torch.is_tensor(value) for value in found.values()):
        raise CheckpointError(f"'{path}' holds no state dict.")
    return {str(name).removeprefix(WRAPPED): value for name, value in found.items()}


def read_settings(path: Path, key: str) -> dict[str, Any]:
    """What torch.save wrote beside the weights under a key: plain values by their names; empty where it wrote none.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"no file '{path}'.")
    found = _loaded(path)
    settings = found.get(key) if isinstance(found, dict) else None
    return {str(name): value for name, value in settings.items()} if isinstance(settings, dict) else {}


def _loaded(path: Path) -> Any:
    """What torch.save wrote, on the CPU."""
    _refuse_compressed(path)
    try:
        with torch.serialization.safe_globals(_plain_numpy()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"'{path}' does not read as tensors alone: {reason} "
            "Where you trust it, save its state dict as .safetensors."
        ) from error


def _refuse_compressed(path: Path) -> None:
    """torch.save stores; a compressed member could be small here and fill the memory."""
    if not is_zipfile(path):
        return
    try:
        with ZipFile(path) as archive:
            pressed = [member.filename for member in archive.infolist() if member.compress_type != ZIP_STORED]
    except (BadZipFile, OSError, NotImplementedError) as error:
        raise CheckpointError(f"'{path}' does not read: {error}") from error
    if pressed:
        raise CheckpointError(f"'{path}' was not written by torch.save: '{pressed[0]}' in it is compressed.")


def _plain_numpy() -> list[Any]:
    """Numbers of numpy, which trainers keep beside the weights as losses and counts: bytes that run nothing."""
    scalar: Any = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("float64", "float32", "float16", "int64", "int32", "bool")]
    named = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    return [*named, np.dtype, *types]
