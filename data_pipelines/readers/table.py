"""A table of files: csv, tsv, json, jsonl or parquet, one row a sample."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, inside
from data_pipelines.readers.tables import ENCODING, BadRow, as_json, as_texts, read_rows, require_fields
from data_pipelines.rows import file_digest
from mmcontrast.config import config
from mmcontrast.errors import ConfigError, SkipSample


@READERS.register("table")
class TableReader(Reader):
    """Rows of a table whose fields name files; other fields become captions or stay as they are."""

    @config
    class Config(ReaderConfig):
        """Which field is what."""

        file: str  # .csv, .tsv, .json, .jsonl or .parquet
        media: dict[str, str] = {}  # column -> field that holds a path, as in {image: filepath}
        captions: tuple[str, ...] = ()  # fields that hold captions: a string, or a list of strings
        keep: tuple[str, ...] = ()  # fields copied into the JSON member
        id: str | None = None  # field that becomes the key; null: the first medium's path
        root: str | None = None  # folder that paths start from; null: the table's
        outside: bool = False  # whether paths may lead out of root: absolute ones, and ".."
        encoding: str = ENCODING  # of csv, tsv, json and jsonl: UTF-8, with a byte order mark or without
        where: dict[str, str] = {}  # keep only rows whose field has this value, as in {split: train}

    def items(self) -> Iterator[Item]:
        """Samples in the table's order."""
        config = self.config
        path = existing(config.file, what="reader.file")
        root = Path(config.root) if config.root else path.parent
        if not config.media and not config.captions:
            raise ConfigError("reader: name at least one field in media or captions.")
        checked = False
        for number, row in enumerate(read_rows(path, encoding=config.encoding)):
            if isinstance(row, BadRow):
                detail = f"'{path}' line {row.line}: {row.why}"
                yield Item(id=f"line-{row.line}", refused=("row does not read", detail))
                continue
            if not checked:
                wanted = [*config.media.values(), *config.captions, *config.keep, *config.where]
                require_fields(row, [*wanted, *([config.id] if config.id else [])], path)
                checked = True
            if all(str(row.get(name)) == value for name, value in config.where.items()):
                yield self._item(row, root, number)

    def _item(self, row: dict[str, Any], root: Path, number: int) -> Item:
        config = self.config
        named = {column: str(row[name]) for column, name in config.media.items() if row.get(name)}
        first = next(iter(named.values()), str(number))
        key = str(row.get(config.id)) if config.id else os.path.splitext(first)[0]
        try:
            media = {column: str(self._path(root, name)) for column, name in named.items()}
        except SkipSample as error:
            return Item(id=key, refused=("path leaves its folder", f"{error}; reader.outside=true allows it"))
        info = {name: as_json(row[name], field=name) for name in config.keep if row.get(name) is not None}
        captions = [text for name in config.captions for text in as_texts(row.get(name))]
        return Item(id=key, media=media, info={"captions": captions} | info)

    def _path(self, root: Path, name: str) -> Path:
        return root / name if self.config.outside else inside(root, name)

    def inputs(self) -> dict[str, str]:
        """The table's digest."""
        return {self.config.file: file_digest(existing(self.config.file, what="reader.file"))[1]}
