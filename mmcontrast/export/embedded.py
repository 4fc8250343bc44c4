"""A folder of embeddings, read part by part or whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmcontrast.errors import ExportError

ABOUT = "embeddings.json"
TEXT_FIELDS = ("caption", "captions", "text")


@dataclass(frozen=True)
class EmbeddedPart:
    """Rows that were written together."""

    keys: list[str]
    positions: list[int]  # in their source
    fields: list[str]  # of each row, as JSON
    points: dict[str, Float[Tensor, "N D"]]  # by modality; zeros where a row lacks it
    present: dict[str, Bool[Tensor, " N"]]


def part_file(folder: Path, number: int, kind: str) -> Path:
    """Place of one part's vectors or rows."""
    return folder / f"part-{number:05d}.{kind}"


def read_about(folder: Path) -> dict[str, Any]:
    """What a folder of embeddings says of itself.

    Raises:
        ExportError: it holds none, or they do not read.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise ExportError(f"'{folder}' holds no embeddings: it has no {ABOUT}. Write some: mmcontrast embed.")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        _ = about["source"]["rows"], about["part_rows"], about["dim"], about["modalities"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"'{path}' is damaged: {error!r}. Embed again.") from error
    return dict(about)


def read_parts(folder: Path) -> Iterator[EmbeddedPart]:
    """Read one part after another, in the order of the rows.

    Raises:
        ExportError: the folder holds none; or a part is missing, damaged or of another width.
    """
    about = read_about(folder)
    rows = about["source"]["rows"]
    for number in range(-(-rows // about["part_rows"])):
        count = min(about["part_rows"], rows - number * about["part_rows"])
        yield _read_part(folder, number, about, count)


def read_embeddings(folder: Path) -> dict[str, Any]:
    """Read all parts: ``keys`` and, by modality, ``(vectors (N, D), present (N,))``.

    Raises:
        ExportError: the folder holds none, or a part is missing or damaged.
    """
    about, parts = read_about(folder), list(read_parts(folder))
    found: dict[str, Any] = {"keys": [key for part in parts for key in part.keys], "about": about}
    for name in about["modalities"]:
        found[name] = (torch.cat([part.points[name] for part in parts]), torch.cat([p.present[name] for p in parts]))
    return found


def texts_of(fields: dict[str, Any], text_field: str | None) -> list[str]:
    """What a row says: the strings of a field, or of the first usual one that it has."""
    name = text_field or next((each for each in TEXT_FIELDS if each in fields), None)
    value = fields.get(name) if name else None
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _read_part(folder: Path, number: int, about: dict[str, Any], count: int) -> EmbeddedPart:
    import pyarrow.parquet
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        table = pyarrow.parquet.read_table(part_file(folder, number, "parquet")).to_pydict()
        tensors = load_file(part_file(folder, number, "safetensors"))
        part = EmbeddedPart(
            table["key"],
            table["position"],
            table["fields"],
            {name: tensors[name] for name in about["modalities"]},
            {name: tensors[f"{name}.present"] for name in about["modalities"]},
        )
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ExportError(f"part {number} of '{folder}' is missing or damaged: {error}. Embed again.") from error
    for name, points in part.points.items():
        if points.shape != (count, about["dim"]) or part.present[name].shape != (count,) or len(part.keys) != count:
            raise ExportError(
                f"part {number} of '{folder}' holds {len(part.keys)} rows with {name} of shape {tuple(points.shape)}; "
                f"{ABOUT} says {(count, about['dim'])}: it was made by another model or source. Embed again."
            )
    return part
