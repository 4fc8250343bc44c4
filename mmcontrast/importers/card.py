"""README.md of an imported checkpoint: where it comes from, how faithful it is, how to go on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmcontrast.config import dump
from mmcontrast.export.card import CARD
from mmcontrast.export.part import Part
from mmcontrast.export.preprocessing import described
from mmcontrast.exported import MODEL_JSON
from mmcontrast.exported.paths import relocated
from mmcontrast.importers.base import read_json

if TYPE_CHECKING:
    from mmcontrast.importers.run_import import Imported


def write_card(folder: Path, done: Imported, part: Part) -> None:
    """Write the card."""
    names = " and ".join(part.modalities)
    size = sum(parameter.numel() for parameter in part.model.parameters())
    report = "\n".join(done.lines())
    training = "\n".join(
        f"    {modality}: {{weights: THIS FOLDER}}  # its head too, where the run's has the same shape"
        for modality in part.modalities
    )
    before = {name: described(part, name) for name in part.modalities}
    sections = [
        f"# {names.capitalize()}, imported from {done.layout}",
        f"{names.capitalize()} into one space of {part.config.dim} dimensions, {size / 1e6:,.1f}M parameters in fp32. "
        "The weights keep the licence under which they were published.",
        '```python\nimport mmcontrast\n\nencoder = mmcontrast.load("THIS FOLDER")\n```',
        f"## How faithful\n\n```\n{report}\n```",
        "## Train on from it\n\nA run that starts from these weights has these towers:\n\n"
        f"```yaml\nmodel:\n{_model_yaml(folder)}  training:\n{training}\n```",
        f"## Before the towers\n\n```json\n{json.dumps(before, indent=1, ensure_ascii=False)}\n```",
    ]
    (folder / CARD).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _model_yaml(folder: Path) -> str:
    """The model's part of a run's config, with paths that begin with a placeholder."""
    tree = read_json(folder / MODEL_JSON)
    model = relocated(tree["model"], [tuple(leaf) for leaf in tree["paths"]], Path("THIS FOLDER"))
    kept = {name: value for name, value in model.items() if name in ("dim", "towers", "heads", "geometry")}
    return "".join(f"  {line}\n" for line in dump(kept).splitlines())
