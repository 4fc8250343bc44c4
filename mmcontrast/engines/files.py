"""The files that an engine adds to a checkpoint: safetensors, nothing that could run code."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mmcontrast.errors import CheckpointError

OPTIMIZER = "optimizer.safetensors"


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write '{path}': {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors onto the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read '{path}': {error}") from error
