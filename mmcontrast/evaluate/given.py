"""Embeddings and scores that someone else made, from .safetensors, .npy and .parquet files; no pickle is opened.

A file holds one array a modality, one row an item, and fields of its rows: one-dimensional tensors of a .safetensors
file, the other columns of a .parquet file, and a FILE.jsonl or FILE.csv beside any of them.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.errors import ConfigError, MetricError, MissingData, MissingPackage, did_you_mean

MODALITIES = ("image", "audio", "text")
SCORES = "scores"  # name of the array in a file of scores
OF_COLUMNS = ("of", "text")  # fields of a score matrix's columns, where rows and columns are equally many
KINDS = ("safetensors", "npy", "parquet")


@dataclass(frozen=True)
class Table:
    """One array, (N, D) float32 and finite, with the fields of its rows."""

    name: str  # a modality, or scores
    values: Tensor
    fields: list[dict[str, Any]]  # N; what is null in the file is not there
    path: Path


def read_tables(place: str, *, names: tuple[str, ...] = MODALITIES) -> list[Table]:
    """Read ``FILE``, or ``NAME=FILE`` where the file does not say what its array is.

    Raises:
        MissingData, ConfigError, MetricError: no such file, nothing of these names in it, wrong shapes, or NaN.
    """
    name, equals, rest = place.partition("=")
    path = Path(rest if equals else place)
    if equals and name not in names:
        raise ConfigError(f"'{place}': '{name}' is none of {', '.join(names)}.{did_you_mean(name, names)}")
    if not path.is_file():
        raise MissingData(f"no file '{path}'.")
    kind = path.suffix.removeprefix(".")
    if kind not in KINDS:
        raise ConfigError(f"'{path}': expected a file of kind {', '.join(KINDS)}.")
    named = name if equals else path.stem
    found, fields = {"npy": _npy, "safetensors": _safetensors, "parquet": _parquet}[kind](path, named, names)
    if not found:
        raise ConfigError(f"'{path}' holds no array of {', '.join(names)}. Say which it is: {names[0]}={path}")
    beside = read_fields(path)
    tables = []
    for each, array in found.items():
        if array.ndim != 2 or 0 in array.shape:
            raise MetricError(f"'{path}', {each}: expected rows x columns, got shape {tuple(array.shape)}.")
        for what, size in (("its fields", len(fields)), (f"the file of fields beside '{path}'", len(beside))):
            if size not in (0, len(array)):
                raise MetricError(f"'{path}', {each}: {len(array):,} rows, but {what} are of {size:,}.")
        merged = [{**(fields[row] if fields else {}), **(beside[row] if beside else {})} for row in range(len(array))]
        tables.append(Table(each, _finite(array, path, each), [_present(row) for row in merged], path))
    return tables


def read_fields(path: Path, *, suffix: str = "") -> list[dict[str, Any]]:
    """Rows of ``FILE.jsonl`` or ``FILE.csv`` beside a file; none when there is neither.

    Args:
        suffix: between the file's stem and the ending: ``.columns`` for the columns of a score matrix.

    Raises:
        ConfigError: a line is no JSON object.
    """
    lines, table = (path.with_name(f"{path.stem}{suffix}{ending}") for ending in (".jsonl", ".csv"))
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as stream:
            return [dict(row) for row in csv.DictReader(stream)]
    if not lines.is_file():
        return []
    rows = []
    for number, line in enumerate(lines.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"'{lines}' line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"'{lines}' line {number}: expected an object of fields, got {line[:60]}")
        rows.append(row)
    return rows


def _npy(path: Path, named: str, names: tuple[str, ...]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    try:
        array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ConfigError(f"'{path}' is no array of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ConfigError(f"'{path}' is no array of numbers.")
    return ({named: torch.from_numpy(array)} if named in names else {}), []


def _safetensors(path: Path, named: str, names: tuple[str, ...]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"'{path}' is no safetensors file: {error}") from error
    found = {name: value for name, value in tensors.items() if name in names and value.ndim == 2}
    if not found and named in names:
        matrices = [name for name, value in tensors.items() if value.ndim == 2]
        if len(matrices) == 1:
            found = {named: tensors[matrices[0]]}
    sizes = {len(value) for value in found.values()}
    columns = {name: value for name, value in tensors.items() if value.ndim == 1}
    if len(sizes) != 1:
        return found, []  # arrays of several lengths share no fields
    rows = sizes.pop()
    return found, [
        {name: value[row].item() for name, value in columns.items() if len(value) == rows} for row in range(rows)
    ]


def _parquet(path: Path, named: str, names: tuple[str, ...]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackage("parquet files need pyarrow: pip install 'mmcontrast[pipelines]'.") from error
    try:
        columns = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"'{path}' is no parquet file: {error}") from error
    found, fields = {}, {}
    for name in columns.column_names:
        values = columns.column(name).to_pylist()
        is_array = all(isinstance(each, list) and each and isinstance(each[0], float) for each in values)
        if is_array and len({len(each) for each in values}) == 1:
            found[name] = torch.tensor(values)
        elif is_array and name in names:
            raise MetricError(f"'{path}', {name}: rows of several lengths.")
        else:
            fields[name] = values
    if not set(found) & set(names) and len(found) == 1 and named in names:
        found = {named: next(iter(found.values()))}
    rows = [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    return {name: value for name, value in found.items() if name in names}, rows


def _finite(array: Tensor, path: Path, name: str) -> Tensor:
    values = array.float()
    bad = (~torch.isfinite(values).all(dim=1)).nonzero().squeeze(1)
    if len(bad):
        raise MetricError(
            f"'{path}', {name}: {len(bad):,} of {len(values):,} rows hold NaN or infinities, the first is row "
            f"{int(bad[0])} (counted from 0)."
        )
    return values


def _present(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is null: a label that is not there must not become a class of its own."""
    return {
        key: value
        for key, value in row.items()
        if value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
    }
