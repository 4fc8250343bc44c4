"""README.md of an export: what it is, how to load it, what it was trained on, under which licences, how good it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmcontrast.data.shards import open_shards
from mmcontrast.errors import MMContrastError
from mmcontrast.evaluate.markdown import markdown_table
from mmcontrast.evaluate.suite import read_result
from mmcontrast.export.base import ExportFormat, format_name
from mmcontrast.export.parity import Parity
from mmcontrast.export.part import Part
from mmcontrast.export.preprocessing import described
from mmcontrast.exported.dtypes import Dtype

CARD = "README.md"
UNNAMED = "unknown"  # licence of weights that nobody has named one for


def write_card(
    folder: Path,
    part: Part,
    *,
    dtype: Dtype,
    export_format: ExportFormat,
    parity: list[Parity],
    loss: list[Parity],
    licence: str | None,
) -> None:
    """Write the card, with the metadata that model hubs read at its top."""
    source = part.about.get("source", {})
    size = sum(parameter.numel() for parameter in part.model.parameters())
    names = " and ".join(part.modalities)
    sections = [
        _front_matter(part, licence),
        f"# {source.get('run', 'Model')}: {names}\n\n"
        f"{names.capitalize()} into one space of {part.config.dim} dimensions, compared by "
        f"{_similarity(part)}. {size / 1e6:,.1f}M parameters, stored as {dtype}, "
        f"written by mmcontrast for {format_name(export_format)}.",
        f"## Use\n\n```python\n{export_format.usage(part)}\n```",
        "## Before the tower\n\n```json\n"
        + json.dumps({name: described(part, name) for name in part.modalities}, indent=1, ensure_ascii=False)
        + "\n```",
        _parity(parity, loss, dtype),
        _training_data(source, licence),
        _metrics(part),
        _config(source),
    ]
    (folder / CARD).write_text("\n\n".join(text for text in sections if text) + "\n", encoding="utf-8")


def _front_matter(part: Part, licence: str | None) -> str:
    tags = "".join(f"\n- {modality}" for modality in part.modalities)
    return f"---\nlicense: {(licence or UNNAMED).lower()}\nlibrary_name: mmcontrast\ntags:\n- contrastive{tags}\n---"


def _similarity(part: Part) -> str:
    name = part.config.geometry.registry_name
    return "their cosine: embeddings have length 1" if name == "sphere" else f"the geometry '{name}'"


def _parity(parity: list[Parity], loss: list[Parity], dtype: Dtype) -> str:
    lines = [
        "## Read back by its target",
        "",
        "| input | largest difference | cosine loss | limit |",
        "|---|--:|--:|--:|",
    ]
    for each in parity:
        limit = "told, not judged" if each.limit is None else f"{each.limit:.0e}"
        lines.append(f"| {each.modality}: {each.what} | {each.largest:.1e} | {each.cosine_loss:.1e} | {limit} |")
    if loss:
        lines += ["", f"What {dtype} costs beside fp32:", "", "| input | cosine loss |", "|---|--:|"]
        lines += [f"| {each.modality}: {each.what} | {each.cosine_loss:.1e} |" for each in loss]
    return "\n".join(lines)


def _training_data(source: dict[str, Any], licence: str | None) -> str:
    lines = ["## Trained on", "", "| set | rows | licences of the rows | made from |", "|---|--:|---|---|"]
    for location in dict.fromkeys(source.get("training_data", [])):
        lines.append(_set_row(str(location)))
    if len(lines) == 4:
        return "## Trained on\n\nNot known: the export was made from an export that did not say."
    if licence is None:
        lines += ["", "The weights have no licence of their own yet; the licences above are those of the data."]
    return "\n".join(lines)


def _set_row(location: str) -> str:
    try:
        manifest = open_shards(location).manifest
    except MMContrastError:
        return f"| {location} | | not here at export, so not known | |"
    licences = ", ".join(f"{name} ({rows:,})" for name, rows in sorted(manifest.licences.items())) or "none named"
    made = manifest.made_by.get("sources", {})
    named = ", ".join(f"{name} ({kind})" for name, kind in made.items()) if isinstance(made, dict) else str(made)
    return f"| {manifest.name} | {manifest.rows:,} | {licences} | {named} |"


def _metrics(part: Part) -> str:
    """Tables of the evaluations of this very checkpoint that lie in its run folder."""
    if part.home is None:
        return ""
    tables = []
    for path in sorted(part.home.glob("eval/*/results.json")):
        try:
            _, tree = read_result(path)
            if tree["about"].get("checkpoint") != part.about["source"]["checkpoint"]:
                continue
            tables.append(f"### Suite {tree['suite']}\n\n{markdown_table([path])}")
        except (MMContrastError, KeyError, TypeError):
            tables.append(f"### {path.parent.name}\n\n{path.name} does not read.")
    return "## Measured\n\n" + "\n\n".join(tables) if tables else ""


def _config(source: dict[str, Any]) -> str:
    if not source.get("config"):
        return ""
    steps, rows = source.get("steps", 0), source.get("rows", 0)
    return (
        f"## Training config\n\n{source['checkpoint']}: {steps:,} updates, {rows:,} rows seen.\n\n"
        f"```yaml\n{source['config']}```"
    )
