"""Rows of a table in any of the formats that people publish: csv, tsv, json, jsonl and parquet."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.evaluate.readers.base import read_json, read_table, read_text

MAX_CELLS = 50_000_000  # of a parquet table
MAX_LITERAL = 1 << 20  # characters of a list that is written as Python would


def read_rows(path: Path, needed: tuple[str, ...], *, quotes: bool = True) -> list[dict[str, Any]]:
    """Read a table by its file's ending.

    Args:
        needed: columns that must be there.
        quotes: may cells of a .csv or .tsv stand in quotation marks?

    Raises:
        ConfigError: a column is missing, or the file is damaged; names the line.
        MissingPackage: a .parquet without pyarrow.
    """
    if path.suffix == ".jsonl":
        return _json_lines(path, needed)
    if path.suffix == ".parquet":
        return _parquet(path, needed)
    if path.suffix == ".json":
        rows = read_json(path, list)
        for number, row in enumerate(rows):
            if not isinstance(row, dict) or any(name not in row for name in needed):
                raise ConfigError(f"'{path}' entry {number}: expected a map with {', '.join(needed) or 'fields'}.")
        return list(rows)
    return list(read_table(path, needed, delimiter="\t" if path.suffix == ".tsv" else ",", quotes=quotes))


def literal_list(text: Any, *, where: str) -> list[str]:
    """A list of strings written as Python writes it: ``['a', "b"]``; nothing is executed.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(text, list):
        return [str(each) for each in text]
    try:
        if len(str(text)) > MAX_LITERAL:
            raise ValueError("too long")
        found = ast.literal_eval(str(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ConfigError(f"{where}: expected a list of texts, got {str(text)[:60]!r}.") from error
    if not isinstance(found, (list, tuple)):
        raise ConfigError(f"{where}: expected a list of texts, got {str(text)[:60]!r}.")
    return [str(each) for each in found]


def _json_lines(path: Path, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"'{path}' line {number} is not JSON: {error}") from error
        if not isinstance(row, dict) or any(name not in row for name in needed):
            raise ConfigError(f"'{path}' line {number}: expected a map with {', '.join(needed) or 'fields'}.")
        rows.append(row)
    return rows


def _parquet(path: Path, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """Columns of numbers, strings and lists; pictures and sounds inside of a table are not read."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackage("parquet tables need pyarrow: pip install pyarrow.") from error
    try:
        names = parquet.read_schema(path).names
        lacking = [name for name in needed if name not in names]
        if lacking:
            raise ConfigError(f"'{path}' has no column {', '.join(lacking)}; it has: {', '.join(names)}.")
        if parquet.read_metadata(path).num_rows * len(names) > MAX_CELLS:
            raise ConfigError(f"'{path}' holds over {MAX_CELLS:,} cells: not the table that was expected.")
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ConfigError(f"'{path}' is no parquet table: {error}") from error
    return rows
