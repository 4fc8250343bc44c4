"""Queries of a reference and a text, each with the row that they ask for.

Letters: T triplets.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmcontrast.downstream.towers import EmbeddedRows
from mmcontrast.errors import HeadError
from mmcontrast.export.embedded import ABOUT, read_about, texts_of
from mmcontrast.export.plain_folder import open_source

PER_ROW = 4  # triplets that are drawn for each row as the target


@dataclass(frozen=True)
class Triplets:
    """Row numbers of references and targets, with the texts between them."""

    references: list[int]
    texts: list[str]
    targets: list[int]
    excluded: list[tuple[int, ...]]  # rows that are no answers
    subsets: list[tuple[int, ...]] = field(default_factory=list)  # among which targets are also ranked; none: nowhere

    def __len__(self) -> int:
        return len(self.texts)


def triplets_of(rows: EmbeddedRows, *, file: Path | None, keep: str | None, seed: int) -> Triplets:
    """Read triplets from a file or the rows' reader, or draw them.

    Args:
        file: JSON lines of reference and target (keys of rows) and text.
        keep: a field; drawn are a row as the target, another one with the same value of this field and another text
            as the reference, and the target's first text: ``that thing in this style``.

    Raises:
        HeadError: there are none, or they name no rows.
    """
    if keep is not None:
        return _drawn(rows, keep, seed)
    place = {key: number for number, key in enumerate(rows.keys)}
    found = _listed(file) if file is not None else _queries(rows.source)
    where = str(file or rows.source)
    kept = Triplets([], [], [], [])
    for number, query in enumerate(found, start=1):
        lacking = [name for name in ("reference", "text", "target") if not isinstance(query.get(name), str)]
        if lacking:
            raise HeadError(f"'{where}', triplet {number}: it has no {lacking[0]}.")
        if query["reference"] in place and query["target"] in place:
            kept.references.append(place[query["reference"]])
            kept.targets.append(place[query["target"]])
            kept.texts.append(query["text"])
            kept.excluded.append(tuple(place[key] for key in query.get("excluded", []) if key in place))
            kept.subsets.append(tuple(place[key] for key in query.get("subset", []) if key in place))
    if not all(target in subset for target, subset in zip(kept.targets, kept.subsets, strict=True)):
        kept.subsets.clear()
    if not len(kept):
        raise HeadError(
            f"no triplet of '{where}' names two rows of '{rows.source}'; the first row is '{rows.keys[0]}'."
        )
    return kept


def _drawn(rows: EmbeddedRows, keep: str, seed: int) -> Triplets:
    values, said = rows.field(keep), [next(iter(texts_of(fields, None)), "") for fields in rows.fields]
    alike: dict[str, list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        alike[value].append(number)
    generator = np.random.default_rng(seed)
    found = Triplets([], [], [], [])
    for target, value in enumerate(values):
        for reference in generator.choice(alike[value], PER_ROW).tolist():
            if said[target] and said[reference] != said[target]:
                found.references.append(reference)
                found.texts.append(said[target])
                found.targets.append(target)
                found.excluded.append((reference,))
    if not len(found):
        raise HeadError(f"no two rows of '{rows.source}' have the same '{keep}' and different texts.")
    return found


def _listed(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [dict(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError, TypeError) as error:
        raise HeadError(f"triplets '{file}' are no JSON lines of maps: {error}") from error


def _queries(source: str) -> Sequence[dict[str, Any]]:
    folder = Path(source)
    location = read_about(folder)["location"] if (folder / ABOUT).is_file() else source
    return open_source(location).queries
