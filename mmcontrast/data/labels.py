"""Labels of rows, from JSON fields: class ids, numbers, or several of either a row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.data.order import stable_hash
from mmcontrast.data.transforms.captions import read_names
from mmcontrast.errors import SkipSample

NO_CLASS = -1


@config
class Label:
    """One label.  Rows of sources that lack it get no class (-1), or the number 0."""

    field: str  # JSON field: a number, a string, or with classes a list of either, with numbers one of numbers
    kind: Literal["class", "number", "classes", "numbers"] = "class"
    most: Count = 16  # with classes: so many a row, the rest are dropped; with numbers: so many in every row
    vocabulary: str | None = None  # JSON file, list of class names: a string's id is its place; package:NAME works

    def __post_init__(self) -> None:
        if self.kind in ("number", "numbers") and self.vocabulary is not None:
            raise ValueError("a number has no vocabulary. Set kind: class, or remove vocabulary.")


def read_label(info: Mapping[str, Any], label: Label, *, key: str) -> int | float | list[int] | list[float]:
    """A row's label.

    Raises:
        SkipSample: the field is missing, or not what the label's kind asks for.
    """
    if label.field not in info:
        raise SkipSample(f"{key}: no field '{label.field}', which a label is read from", cause="label")
    value = info[label.field]
    if label.kind == "number":
        return _finite(value, label, key=key)
    if label.kind == "class":
        return _class_id(value, label, key=key)
    if not isinstance(value, list):
        raise SkipSample(f"{key}: field '{label.field}' is not a list", cause="label")
    if label.kind == "numbers":
        if len(value) != label.most:
            raise SkipSample(f"{key}: field '{label.field}' holds {len(value)}, not {label.most}", cause="label")
        return [_finite(each, label, key=key) for each in value]
    ids = [each for each in (_class_id(entry, label, key=key) for entry in value) if each != NO_CLASS]
    return ids[: label.most]


def _finite(value: object, label: Label, *, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SkipSample(f"{key}: field '{label.field}' is not a finite number", cause="label")
    return float(value)


def _class_id(value: object, label: Label, *, key: str) -> int:
    if isinstance(value, str):
        if label.vocabulary is None:
            return stable_hash("group", value)
        return _places(label.vocabulary).get(value, NO_CLASS)
    if isinstance(value, bool) or not isinstance(value, int) or not NO_CLASS <= value < 2**63:
        raise SkipSample(f"{key}: field '{label.field}' holds no class: a string, or an id from 0 on", cause="label")
    return value


@lru_cache(maxsize=8)
def _places(vocabulary: str) -> Mapping[str, int]:
    return {name: int(place) for place, name in read_names(vocabulary).items()}


def stacked_labels(rows: Iterable[Mapping[str, Any]], labels: Mapping[str, Label]) -> dict[str, Tensor]:
    """One tensor a label: (B,) ids or numbers, (B, most) ids padded with -1, or (B, most) numbers."""
    rows = list(rows)
    found = {}
    for name, label in labels.items():
        if label.kind == "number":
            found[name] = torch.tensor([row.get(name, 0.0) for row in rows], dtype=torch.float32)
        elif label.kind == "numbers":
            found[name] = torch.tensor([row.get(name, [0.0] * label.most) for row in rows], dtype=torch.float32)
        elif label.kind == "class":
            found[name] = torch.tensor([row.get(name, NO_CLASS) for row in rows], dtype=torch.int64)
        else:
            ids = torch.full((len(rows), label.most), NO_CLASS, dtype=torch.int64)
            for place, row in enumerate(rows):
                mine = row.get(name, [])
                ids[place, : len(mine)] = torch.tensor(mine, dtype=torch.int64)
            found[name] = ids
    return found
