"""The rows of an index by number: their names, where they come from, and what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcontrast.errors import SearchError
from mmcontrast.export.embedded import texts_of


@dataclass(frozen=True)
class Row:
    """One row of an embedded set."""

    key: str
    source: int  # number of its set in the index
    position: int  # in its set
    fields: dict[str, Any]


class Rows:
    """Rows of an Arrow file, mapped into memory and read one by one."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        import pyarrow.ipc

        self._table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: int) -> Row:
        (row,) = self._table.slice(number, 1).to_pylist()
        return Row(row["key"], row["source"], row["position"], json.loads(row["fields"]))

    def number(self, key: str) -> int:
        """The first row of a name.

        Raises:
            SearchError: there is none.
        """
        import pyarrow.compute

        found = pyarrow.compute.index(self._table["key"], value=key).as_py()
        if found < 0:
            raise SearchError(f"the index has no row '{key}'.")
        return int(found)


class RowsWriter:
    """Writes the file that :class:`Rows` reads, part by part."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        self._schema = pyarrow.schema(
            [
                ("key", pyarrow.string()),
                ("source", pyarrow.int32()),
                ("position", pyarrow.int64()),
                ("fields", pyarrow.string()),
            ]
        )
        self._file = pyarrow.ipc.new_file(str(path), self._schema)

    def add(self, *, keys: list[str], source: int, positions: list[int], fields: list[str]) -> None:
        """Write some rows of one set."""
        import pyarrow

        columns = {"key": keys, "source": [source] * len(keys), "position": positions, "fields": fields}
        self._file.write_table(pyarrow.table(columns, schema=self._schema))

    def close(self) -> None:
        """Write the file's end."""
        self._file.close()


def all_texts(rows: Rows, text_field: str | None) -> Iterator[str]:
    """Everything that each row says, in one string."""
    for number in range(len(rows)):
        yield " ".join(texts_of(rows[number].fields, text_field))
