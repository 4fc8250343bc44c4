"""The frozen teacher of a run: the encoders of a finished one."""

from __future__ import annotations

from mmcontrast import checkpoint
from mmcontrast.copies import FrozenCopy
from mmcontrast.errors import CheckpointError
from mmcontrast.model import Model
from mmcontrast.run import Run
from mmcontrast.run_folder import read_run_folder


def load_teacher(run: Run) -> FrozenCopy | None:
    """Build the encoders of ``run.teacher``'s newest valid checkpoint; None where none is named.

    Raises:
        CheckpointError: no checkpoint verifies, or its weights do not fit its config.
    """
    if run.teacher is None:
        return None
    path = checkpoint.find(run.teacher)
    model = Model(read_run_folder(run.teacher).model)
    state = checkpoint.load_model_state(path)
    kept = {
        name: value for name, value in state.items() if not name.startswith(("objectives.", "combiner.", "momentum."))
    }
    try:
        model.load_state_dict(kept)
    except RuntimeError as error:
        raise CheckpointError(f"the teacher's weights in '{path}' do not fit its config.\n{error}") from error
    return FrozenCopy(model.towers, model.heads, model.geometry, dim=model.config.dim)
