"""The weights from which a run's towers start: those of a file on this machine, or of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmcontrast import checkpoint
from mmcontrast.checkpoint.folder import MANIFEST
from mmcontrast.errors import CheckpointError
from mmcontrast.exported import is_exported, read_exported
from mmcontrast.merging import merged_model_state
from mmcontrast.model import Model, ModelConfig
from mmcontrast.towers.base import Tower
from mmcontrast.tuning.lora import plain_names
from mmcontrast.weight_files import read_tensors


def check_start(config: ModelConfig) -> list[str]:
    """Compare the files of ``model.training.*.weights`` with the towers, of which only shapes are built.

    Raises:
        CheckpointError: a file is missing, or of another tower.
    """
    if all(fields.weights is None for fields in config.training.values()):
        return []
    with torch.device("meta"):
        model = Model(config)
    return load_start(model)


def load_start(model: Model) -> list[str]:
    """Put the weights that the config names into the model; return where each tower's come from, in words.

    Raises:
        CheckpointError: a file is missing, or of another tower.
    """
    lines = []
    for modality, fields in model.config.training.items():
        if fields.weights is not None:
            tower, head = model.towers[modality], model.heads[modality]
            assert isinstance(tower, Tower)
            try:
                state = read_weights(fields.weights)
                _put(tower, tower.adopt(_under(f"towers.{modality}.", state) or state))
                with_head = _put_head(head, _under(f"heads.{modality}.", state))
            except CheckpointError as error:
                raise CheckpointError(f"model.training.{modality}.weights: {error}") from error
            lines.append(f"tower {modality} starts{' with its head' if with_head else ''} from '{fields.weights}'")
    if lines and model.momentum is not None:
        model.momentum.follow(model.towers, model.heads, model.geometry, keep=0.0)
    return lines


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name; nothing in a file can run code.

    Args:
        path: a file (.safetensors, or what torch.save wrote), a run folder, one of its checkpoints, or a folder that
            ``mmcontrast import`` or ``mmcontrast export`` wrote.

    Raises:
        CheckpointError: it is missing, or does not read.
    """
    if (path / "checkpoints").is_dir() or (path / MANIFEST).is_file():
        return merged_model_state(checkpoint.find(path))
    if is_exported(path):
        return read_exported(path).state
    if not path.is_file():
        raise CheckpointError(f"'{path}' is neither a file nor a run folder.")
    return read_tensors(path)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _put(tower: Tower, state: dict[str, Tensor]) -> None:
    """Fill a tower, whether adapters stand beside its layers or not."""
    names = plain_names(tower)
    missing = sorted(set(names.values()) - state.keys())
    if missing:
        raise CheckpointError(f"{len(missing)} of {len(names)} weights are missing, '{missing[0]}' first.")
    statistics = [name for name in state.keys() - names.values() if name.endswith("running_mean")]
    if statistics:
        raise CheckpointError(
            f"it holds statistics of batch norm ('{min(statistics)}'), without which its gains mean nothing: "
            "set the tower's batch_norm to frozen."
        )
    others = sorted(state.keys() - names.values())
    if others:
        raise CheckpointError(f"the tower has no place for {len(others)} of its weights, '{others[0]}' first.")
    _fill(tower, {name: state[plain] for name, plain in names.items()})


def _put_head(head: nn.Module, state: dict[str, Tensor]) -> bool:
    """Fill a head with one of the same shapes; False where there is none."""
    shapes = {name: value.shape for name, value in head.state_dict().items()}
    if not shapes or {name: value.shape for name, value in state.items()} != shapes:
        return False
    _fill(head, state)
    return True


def _fill(module: nn.Module, state: dict[str, Tensor]) -> None:
    own = module.state_dict()
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise CheckpointError(f"'{name}' has shape {tuple(value.shape)} there, {tuple(own[name].shape)} here.")
    if not any(value.is_meta for value in own.values()):
        module.load_state_dict(state, strict=False)
