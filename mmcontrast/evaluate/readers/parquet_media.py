"""Pictures and sounds inside of a parquet table, as the Hugging Face hub stores them; read one row group at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError, MissingPackage, SkipSample


class ParquetMedia:
    """Bytes of the media of a table's rows; a column is ``{"bytes", "path"}``, or a list of such with one entry."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path, self._columns = path, columns
        self._group: tuple[int, list[dict[str, Any]]] = (-1, [])

    @cached_property
    def _file(self) -> Any:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingPackage("parquet tables need pyarrow: pip install pyarrow.") from error
        try:
            return parquet.ParquetFile(self._path)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ConfigError(f"'{self._path}' is no parquet table: {error}") from error

    @property
    def names(self) -> list[str]:
        """Columns of the table."""
        return [str(name) for name in self._file.schema_arrow.names]

    def fields(self, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """Other columns of every row.

        Raises:
            ConfigError: one is not there.
        """
        lacking = [name for name in (*columns, *self._columns) if name not in self.names]
        if lacking:
            raise ConfigError(f"'{self._path}' has no column {', '.join(lacking)}; it has: {', '.join(self.names)}.")
        rows: list[dict[str, Any]] = self._file.read(columns=list(columns)).to_pylist()
        return rows

    def content(self, row: int, column: str) -> Callable[[], bytes]:
        """How to get the bytes of one cell."""

        def read() -> bytes:
            found = self._row(row)[column]
            found = found[0] if isinstance(found, list) and found else found
            content = found.get("bytes") if isinstance(found, dict) else found
            if not isinstance(content, bytes):
                raise SkipSample(f"{self._path.name} row {row}: '{column}' holds no bytes")
            return content

        return read

    def _row(self, row: int) -> dict[str, Any]:
        first = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if row < first + count:
                if self._group[0] != group:
                    rows = self._file.read_row_group(group, columns=list(self._columns)).to_pylist()
                    self._group = (group, rows)
                return self._group[1][row - first]
            first += count
        raise SkipSample(f"{self._path.name} has no row {row}")
