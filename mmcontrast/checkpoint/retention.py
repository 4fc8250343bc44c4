"""Which checkpoints stay: the last ones, every n-th, and the best by a metric."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmcontrast.checkpoint.folder import folders, load_state, step_of
from mmcontrast.errors import CheckpointError
from mmcontrast.run import CheckpointConfig


def kept(values: Mapping[int, float | None], config: CheckpointConfig) -> set[int]:
    """Return the steps to keep.

    Args:
        values: step -> value of the metric, or None where it is not known.
    """
    steps = sorted(values)
    keep = set(steps[-config.keep :])
    if config.keep_every_steps is not None:
        keep |= {step for step in steps if step % config.keep_every_steps == 0}
    if config.keep_best:
        sign = 1 if config.best_is == "lowest" else -1
        known = [(sign * value, -step) for step, value in values.items() if value is not None and math.isfinite(value)]
        keep |= {-negative for _, negative in sorted(known)[: config.keep_best]}  # of equal ones the newer
    return keep


def drop_old(folder: Path, config: CheckpointConfig) -> None:
    """Delete the checkpoints under ``folder`` that the config does not keep.

    Raises:
        CheckpointError: one cannot be deleted.
    """
    paths = {step_of(path): path for path in folders(folder)}
    for step in set(paths) - kept({step: _metric(path, config.best_metric) for step, path in paths.items()}, config):
        try:
            shutil.rmtree(paths[step])
        except OSError as error:
            raise CheckpointError(f"cannot delete the old checkpoint '{paths[step]}': {error}") from error


def _metric(path: Path, name: str) -> float | None:
    try:
        value = load_state(path).get("metrics", {}).get(name)
    except (OSError, json.JSONDecodeError):
        return None  # damaged: no claim to be the best
    return float(value) if isinstance(value, int | float) else None
