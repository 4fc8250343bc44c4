"""Lists of samples as files: csv, tsv, json, jsonl and parquet, a row at a time, with bad rows named."""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError, ShardError

ENCODING = "utf-8-sig"  # UTF-8, with a byte order mark or without
FIELD_CHARACTERS = 1 << 24  # of one csv field; the csv module's own limit is 131,072
SCALARS = (str, int, bool, type(None))


@dataclass(frozen=True)
class BadRow:
    """A row of a list that cannot be read, though those around it can."""

    line: int
    why: str


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a published list, all of which must read: see :func:`read_rows`.

    Raises:
        ShardError: another file type, not what its name says, or a bad row; names the line.
    """
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise ShardError(f"'{path}' line {row.line}: {row.why}.")
        yield row


def read_rows(path: Path, *, encoding: str = ENCODING) -> Iterator[dict[str, Any] | BadRow]:
    """Rows of a .csv, .tsv, .jsonl, .json (a list of maps) or .parquet file.

    Raises:
        ShardError: another file type, or not what its name says; names the line.
        ConfigError: no encoding has that name.
    """
    suffix = path.suffix.lower()
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ConfigError(f"reader.encoding: Python knows no encoding '{encoding}'.") from error
    try:
        if suffix in (".csv", ".tsv"):
            yield from _read_csv(path, "\t" if suffix == ".tsv" else ",", encoding)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _read_jsonl(path, encoding)
        elif suffix == ".json":
            yield from _read_json(path, encoding)
        elif suffix == ".parquet":
            yield from _read_parquet(path)
        else:
            raise ShardError(f"'{path}' is no table that can be read. Known: csv, tsv, json, jsonl, parquet.")
    except UnicodeDecodeError as error:
        raise ShardError(
            f"'{path}' is not {encoding.removesuffix('-sig').upper()}: {error.reason} "
            f"({error.object[error.start : error.start + 1]!r}). Give reader.encoding, as in reader.encoding=cp1252, "
            "where the reader has it, or convert the file."
        ) from error
    except OSError as error:
        raise ShardError(f"'{path}' cannot be read: {error}") from error


def _read_csv(path: Path, delimiter: str, encoding: str) -> Iterator[dict[str, Any] | BadRow]:
    csv.field_size_limit(FIELD_CHARACTERS)
    with path.open(encoding=encoding, newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    yield BadRow(reader.line_num, "another number of fields than its header has")
                else:
                    yield dict(row)
        except csv.Error as error:  # an open quote, say: what follows cannot be told apart any more
            raise ShardError(
                f"'{path}' is not the {path.suffix} file that its name says: line {reader.reader.line_num}: {error}."
            ) from error


def _read_jsonl(path: Path, encoding: str) -> Iterator[dict[str, Any] | BadRow]:
    with path.open(encoding=encoding) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield BadRow(number, f"no JSON: {error}")
                continue
            yield row if isinstance(row, dict) else BadRow(number, f"{_kind(row)}, not a map of fields")


def _read_json(path: Path, encoding: str) -> Iterator[dict[str, Any] | BadRow]:
    rows = _parsed(path, encoding)
    if not isinstance(rows, list):
        raise ShardError(f"'{path}' holds {_kind(rows)}; expected a list of maps, one a sample.")
    for number, row in enumerate(rows, start=1):
        yield row if isinstance(row, dict) else BadRow(number, f"{_kind(row)}, not a map of fields")


def _parsed(path: Path, encoding: str) -> Any:
    try:
        return json.loads(path.read_text(encoding=encoding))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ShardError(f"'{path}' is not the .json file that its name says: {error}") from error


def read_json(path: Path) -> Any:
    """One JSON file whole.

    Raises:
        ShardError: it is not UTF-8 JSON.
    """
    try:
        return _parsed(path, ENCODING)
    except (UnicodeDecodeError, OSError) as error:
        raise ShardError(f"'{path}' cannot be read as UTF-8: {error}") from error


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(1024):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise ShardError(f"'{path}' does not read as .parquet: {error}") from error


def _kind(value: Any) -> str:
    words = {"dict": "a map", "list": "a list", "str": "a string", "int": "a number", "float": "a number"}
    return words.get(type(value).__name__, f"a {type(value).__name__}")


def require_fields(row: dict[str, Any], names: Iterable[str], path: Path) -> None:
    """Check that a table has the columns that are needed.

    Raises:
        ShardError: one is missing; lists those that exist.
    """
    missing = [name for name in names if name not in row]
    if missing:
        raise ShardError(f"'{path}' has no field '{missing[0]}'; it has: {', '.join(map(str, row))}.")


def as_json(value: Any, *, field: str) -> Any:
    """A table's value as JSON can hold it: times and decimals as text, numbers that are not finite as null.

    Raises:
        ConfigError: bytes, or another type that no JSON member holds.
    """
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (date, time, Decimal)):  # a datetime is a date
        return str(value) if isinstance(value, Decimal) else value.isoformat()
    if isinstance(value, list):
        return [as_json(each, field=field) for each in value]
    if isinstance(value, dict):
        return {str(name): as_json(each, field=f"{field}.{name}") for name, each in value.items()}
    raise ConfigError(f"reader.keep: field '{field}' holds {type(value).__name__}, which no JSON member can hold.")


def as_texts(value: Any) -> list[str]:
    """A captions field as a list: a string, a list of strings, or nothing."""
    if isinstance(value, list):
        return [str(each) for each in value if each is not None]
    return [str(value)] if value else []
