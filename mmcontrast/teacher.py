"""The frozen teacher of a run: the encoders of a finished one, or of a folder that was imported or exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mmcontrast import checkpoint
from mmcontrast.copies import FrozenCopy
from mmcontrast.errors import CheckpointError
from mmcontrast.exported import is_exported, read_exported
from mmcontrast.merging import merged_model_state
from mmcontrast.model import Model, ModelConfig
from mmcontrast.run import Run
from mmcontrast.run_folder import read_run_folder

OTHERS = ("objectives.", "combiner.", "momentum.")  # what a run's checkpoints hold besides its encoders


def load_teacher(run: Run) -> FrozenCopy | None:
    """Build the encoders of ``run.teacher``, of a run those of its newest valid checkpoint; None where none is named.

    Raises:
        CheckpointError: nothing verifies, or the weights do not fit their config.
    """
    if run.teacher is None:
        return None
    config, state = _read(run.teacher)
    model = Model(config)
    try:
        model.load_state_dict({name: value for name, value in state.items() if not name.startswith(OTHERS)})
    except RuntimeError as error:
        raise CheckpointError(f"the teacher's weights in '{run.teacher}' do not fit its config.\n{error}") from error
    return FrozenCopy(model.towers, model.heads, model.geometry, dim=model.config.dim)


def _read(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    if is_exported(folder):
        found = read_exported(folder)
        return found.config, found.state
    # How it was trained is over: adapters are part of the weights, and files that these started from are not needed.
    return replace(read_run_folder(folder).model, training={}), merged_model_state(checkpoint.find(folder))
