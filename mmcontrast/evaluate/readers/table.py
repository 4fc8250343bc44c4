"""A set of one's own: a csv, tsv, jsonl or parquet table that names files and fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside
from mmcontrast.evaluate.readers.rows import read_rows


@READERS.register("table")
class Table:
    """Rows of a table; columns named under ``media`` are files below ``root``, all columns are fields.

    A column under ``lists`` is split at the separator: labels of a multi-label set, or captions.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path = Path(".")  # folder of the table and of the files
        file: str  # .csv, .tsv, .jsonl or .parquet below root
        quotes: bool = True  # may cells of a .csv or .tsv stand in quotation marks? GLUE's do not
        media: dict[str, str] = {}  # image or audio -> column that names the file
        key: str | None = None  # column of unique names; null: line numbers
        lists: dict[str, str] = {}  # column -> separator
        label: str | None = None  # column of the class name, also given as the field "label"
        names: str | None = None  # class names by label: a json file or a shipped list
        licence: str = ""

        def __post_init__(self) -> None:
            wrong = [modality for modality in self.media if modality not in ("image", "audio")]
            if wrong:
                raise ValueError(f"media: '{wrong[0]}' is neither image nor audio; texts are fields.")

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the rows."""
        root, path = self.config.root, existing(self.config.root / self.config.file, what="a table")
        needed = (*self.config.media.values(), *self.config.lists)
        needed += tuple(name for name in (self.config.key, self.config.label) if name is not None)
        rows = self._rows(path, needed)
        classes: list[str] = []
        if self.config.label is not None:
            raw = sorted({str(row[self.config.label]) for row in rows})
            classes = class_names(self.config.names, raw) if self.config.names else raw
            spoken = dict(zip(raw, classes, strict=True))
            rows = [row | {"label": spoken[str(row[self.config.label])]} for row in rows]
        entries = [
            Entry(
                str(row[self.config.key]) if self.config.key else f"{number:06d}",
                row,
                {
                    modality: inside(root, str(row[column]))
                    for modality, column in self.config.media.items()
                    if row[column]
                },
            )
            for number, row in enumerate(rows)
        ]
        return Listed(path.stem, entries, classes=tuple(classes), licence=self.config.licence)

    def _rows(self, path: Path, needed: tuple[str, ...]) -> list[dict[str, Any]]:
        rows = read_rows(path, needed, quotes=self.config.quotes)
        for row in rows:
            for column, separator in self.config.lists.items():
                if isinstance(row[column], str):
                    row[column] = [part.strip() for part in row[column].split(separator) if part.strip()]
        return rows
