"""BEATs' own module with a checkpoint's weights, beside which an import is checked."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.data.transforms.clip import windows
from mmcontrast.errors import MissingPackage
from mmcontrast.export.base import Reader
from mmcontrast.specs import AudioSpec

FILES = ("BEATs", "backbone", "modules")  # modules of no package, as they are published


def audio_reader(state: Mapping[str, Tensor], settings: Mapping[str, Any], spec: AudioSpec) -> Reader:
    """The mean of the tokens that BEATs makes of the first window of a sound, followed by silence where it is short.

    Raises:
        MissingPackage: its code cannot be imported.
    """
    module = beats_module()
    model: Any = module.BEATs(module.BEATsConfig({**settings, "finetuned_model": False}))
    model.load_state_dict({name: value for name, value in state.items() if not name.startswith("predictor.")})
    model.eval()

    def audio(items: Sequence[np.ndarray]) -> Tensor:
        waves = torch.from_numpy(np.stack([windows(item, spec)[0] for item in items]))
        return model.extract_features(waves)[0].mean(dim=1)

    return audio


def beats_module() -> ModuleType:
    """The published ``BEATs.py``; the modules that it imports are gone from the others afterwards.

    Raises:
        MissingPackage: it is not on the path.
    """
    if importlib.util.find_spec("BEATs") is None:
        raise MissingPackage(
            "BEATs' code is not installed; it is in no registry: put the folder beats of github.com/microsoft/unilm "
            "on PYTHONPATH."
        )
    before = {name: sys.modules.pop(name) for name in FILES if name in sys.modules}
    try:
        return importlib.import_module("BEATs")
    finally:
        for name in FILES:
            sys.modules.pop(name, None)
        sys.modules.update(before)
