"""Opening a set by its reader's name, or by a YAML file with the reader's fields; shared ways to read tables."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Annotated, Any, Protocol

from mmcontrast.config import OneOf, config, parse, read_tree
from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS

MAX_TABLE_BYTES = 1 << 30


class Reader(Protocol):
    """Lists the rows of one format."""

    def read(self) -> Collection:
        """List the rows; media are opened later, one by one.

        Raises:
            MissingData: the files are not there.
            ConfigError: they are not what the format says.
        """


@config
class Described:
    """A YAML file that describes a set."""

    read: Annotated[Any, OneOf(READERS)]


def read_named(kind: str, root: Path) -> Collection:
    """Open ``READER:FOLDER`` with the reader's defaults."""
    return _read(READERS.get(kind).Config(root=root))


def read_described(path: Path) -> Collection:
    """Open a set that a YAML file describes; its ``root`` is meant from the file's folder.

    Raises:
        ConfigError: every problem of the file.
    """
    described = parse(Described, {"read": read_tree(path)}, where=str(path))
    chosen = dataclasses.replace(described.read, root=path.parent / described.read.root)
    return _read(chosen)


def _read(chosen: Any) -> Collection:
    """List a reader's rows; where its files are not there, say where they are published."""
    reader: Reader = READERS.build(chosen)
    try:
        return reader.read()
    except MissingData as error:
        published = json.loads(resolve("package:published.json").read_text(encoding="utf-8"))
        raise MissingData(f"{error} {published[chosen.registry_name]}".strip()) from error


def existing(path: Path, *, what: str) -> Path:
    """Return a path that must be there.

    Raises:
        MissingData: it is not; says what was expected.
    """
    if not path.exists():
        raise MissingData(f"{what}: expected '{path}', which is not there.")
    return path


def first_existing(root: Path, names: tuple[str, ...], *, what: str) -> Path:
    """Return the first of several names under a folder that is there.

    Raises:
        MissingData: none is.
    """
    existing(root, what=what)
    for name in names:
        if (root / name).exists():
            return root / name
    raise MissingData(f"{what}: expected one of {', '.join(names)} under '{root}'.")


def read_text(path: Path, *, encoding: str = "utf-8-sig") -> str:
    """Read a text file; by default UTF-8, with or without a byte-order mark.

    Raises:
        ConfigError: it is too large, or not UTF-8.
    """
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise ConfigError(f"'{path}' is over 1 GiB: not the list that was expected.")
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not UTF-8: {error}") from error


def read_table(
    path: Path, columns: tuple[str, ...], *, delimiter: str = ",", quotes: bool = True
) -> list[dict[str, str]]:
    """Read a table with a header.

    Args:
        columns: those that must be there.
        quotes: whether a cell may stand in quotation marks; else they are part of the text.

    Raises:
        ConfigError: a column or a cell is missing; names the line.
    """
    reader = csv.DictReader(
        io.StringIO(read_text(path)),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    )
    header = [str(name).strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise ConfigError(f"'{path}' has no column {', '.join(lacking)}; it has: {', '.join(header)}.")
    rows = []
    try:
        for row in reader:
            if any(row[name] is None for name in columns):
                raise ConfigError(f"'{path}' line {reader.line_num}: fewer cells than columns.")
            rows.append({name: value for name, value in row.items() if name is not None})
    except csv.Error as error:
        raise ConfigError(f"'{path}' line {reader.line_num}: {error}") from error
    return rows


def read_json(path: Path, kind: type | tuple[type, ...]) -> Any:
    """Read a JSON file that holds a list or a map.

    Raises:
        ConfigError: it is not JSON, or of another kind.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise ConfigError(f"'{path}' should hold a {_words(kind)}.")
    return value


def inside(root: Path, name: str) -> Path:
    """A file named by a list, which must lie below its folder.

    Raises:
        ConfigError: the name leads out of it.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"'{name}' leads out of '{root}'.")
    return root / name


def _words(kind: type | tuple[type, ...]) -> str:
    if isinstance(kind, tuple):
        return " or a ".join(_words(each) for each in kind)
    return "list" if kind is list else "map"
