"""A checkpoint's weights without adapters: merged into the layers beside which they were trained."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mmcontrast import checkpoint
from mmcontrast.checkpoint.folder import Weights
from mmcontrast.errors import CheckpointError
from mmcontrast.model import Model
from mmcontrast.run_folder import read_run_folder
from mmcontrast.tuning.lora import merged


def merged_model_state(path: Path, *, weights: Weights = "raw") -> dict[str, Tensor]:
    """Read a verified checkpoint's weights under the names that they have without adapters.

    Args:
        path: a checkpoint in its run folder, whose config says where adapters are.
        weights: as trained, or their moving average.

    Raises:
        CheckpointError, RunFolderError: nothing usable is there.
    """
    state = checkpoint.load_model_state(path, weights=weights)
    if not any(".lora_" in name for name in state):
        return state
    model = Model(read_run_folder(path.parent.parent).model)
    result = dict(state)
    for modality, fields in model.config.training.items():
        if fields.lora is None:
            continue
        for prefix in (f"towers.{modality}.", f"momentum.towers.{modality}."):
            part = {name.removeprefix(prefix): result.pop(name) for name in state if name.startswith(prefix)}
            if not part:
                continue
            try:
                plain = merged(model.towers[modality], part)
            except RuntimeError as error:
                raise CheckpointError(f"the weights of '{path}' do not fit its config.\n{error}") from error
            result |= {f"{prefix}{name}": value for name, value in plain.items()}
    return result
