"""A table of files: csv, tsv, json, jsonl or parquet, one row a sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, read_table, require_fields
from data_pipelines.rows import file_digest
from mmcontrast.config import config
from mmcontrast.errors import ConfigError


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
        where: dict[str, str] = {}  # keep only rows whose field has this value, as in {split: train}

    def items(self) -> Iterator[Item]:
        """Samples in the table's order."""
        config = self.config
        path = existing(config.file, what="reader.file")
        root = Path(config.root) if config.root else path.parent
        if not config.media and not config.captions:
            raise ConfigError("reader: name at least one field in media or captions.")
        for number, row in enumerate(read_table(path)):
            if number == 0:
                wanted = [*config.media.values(), *config.captions, *config.keep, *config.where]
                require_fields(row, [*wanted, *([config.id] if config.id else [])], path)
            if any(str(row.get(name)) != value for name, value in config.where.items()):
                continue
            media = {column: str(root / str(row[name])) for column, name in config.media.items() if row.get(name)}
            info = {name: row[name] for name in config.keep if row.get(name) is not None}
            captions: list[str] = []
            for name in config.captions:
                value = row.get(name)
                captions += [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []
            first = next((str(row[name]) for name in config.media.values() if row.get(name)), str(number))
            name = str(row[config.id]) if config.id else str(Path(first).with_suffix(""))
            yield Item(id=name, media=media, info={"captions": captions} | info)

    def inputs(self) -> dict[str, str]:
        """The table's digest."""
        return {self.config.file: file_digest(existing(self.config.file, what="reader.file"))[1]}
