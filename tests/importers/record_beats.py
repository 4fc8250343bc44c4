"""Print what BEATs' own module makes of the tiny checkpoint: the numbers in test_beats.py.

Its code is in no registry; recorded at commit 732d834.  To run it again:

    git clone https://github.com/microsoft/unilm
    PYTHONPATH=.:unilm/beats python -m tests.importers.record_beats
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize

from mmcontrast.importers.beats_peer import beats_module
from tests.importers.beats_file import SECONDS, SETTINGS, sounds, tiny_state

SHOWN = 4  # coordinates


def main() -> None:
    """Embed everything."""
    module = beats_module()
    model: Any = module.BEATs(module.BEATsConfig(SETTINGS)).eval()
    model.load_state_dict(tiny_state())  # strict: the names and shapes are the package's own
    model.predictor = None
    samples = round(SECONDS * 16_000)
    for sound in sounds():
        wave = torch.nn.functional.pad(torch.from_numpy(sound)[:samples], (0, max(0, samples - len(sound))))
        with torch.inference_mode():
            row = normalize(model.extract_features(wave[None])[0].mean(dim=1), dim=-1)[0, :SHOWN].tolist()
        print("    [" + ", ".join(f"{value:.7f}" for value in row) + "],")


if __name__ == "__main__":
    main()
