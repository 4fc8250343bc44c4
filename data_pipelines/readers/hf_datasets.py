"""Hugging Face datasets as folders: ``save_to_disk`` (Arrow) and downloaded repositories (Parquet)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_pipelines.readers import READERS
from data_pipelines.readers.base import MAX_FILE_BYTES, Item, Reader, ReaderConfig, existing, inside, sniff
from data_pipelines.readers.tables import as_json, as_texts, require_fields
from mmcontrast.config import config
from mmcontrast.errors import ConfigError, ShardError, SkipSample

SNIFF_BYTES = 16


@READERS.register("hf_datasets")
class HuggingFaceReader(Reader):
    """Tables with media inside: a cell is ``{"bytes": ..., "path": ...}``, as Image and Audio features store it."""

    @config
    class Config(ReaderConfig):
        """Which field is what."""

        folder: str  # made by save_to_disk, or a downloaded repository with .parquet files
        split: str | None = None  # of a DatasetDict, or the part of file names before "-00000-of-"
        media: dict[str, str]  # column -> field, as in {image: image}
        captions: tuple[str, ...] = ()  # fields that hold captions: a string, or a list of strings
        keep: tuple[str, ...] = ()  # fields copied into the JSON member

    def items(self) -> Iterator[Item]:
        """Rows in the order of the files."""
        config = self.config
        for path in self.files():
            table = _open(str(path))
            require_fields(dict.fromkeys(table.names), [*config.media.values(), *config.captions, *config.keep], path)
            texts = table.plain([*config.captions, *config.keep])
            for number, row in enumerate(texts):
                captions = [text for name in config.captions for text in as_texts(table.named(name, row[name]))]
                kept = {name: table.named(name, row[name]) for name in config.keep if row[name] is not None}
                info = {"captions": captions} | {name: as_json(each, field=name) for name, each in kept.items()}
                media = {column: json.dumps([str(path), number, name]) for column, name in config.media.items()}
                yield Item(id=f"{path.stem}-{number:07d}", media=media, info=info)

    def files(self) -> list[Path]:
        """The table files of the split, in order.

        Raises:
            ConfigError: no such split; ShardError: no tables.
        """
        root = existing(self.config.folder, what="reader.folder", folder=True)
        listing = root / "dataset_dict.json"
        if listing.is_file():
            splits = json.loads(listing.read_text(encoding="utf-8"))["splits"]
            if self.config.split not in splits:
                given = "give one" if self.config.split is None else f"'{self.config.split}' is none"
                raise ConfigError(f"reader.split: {given} of: {', '.join(splits)}.")
            root = root / self.config.split
        if (root / "state.json").is_file():
            state = json.loads((root / "state.json").read_text(encoding="utf-8"))
            return [
                existing(str(root / each["filename"]), what="named by state.json") for each in state["_data_files"]
            ]
        files = sorted(root.rglob("*.parquet"))
        if self.config.split is not None:
            names = sorted({path.name.split("-")[0].removesuffix(".parquet") for path in files})
            files = [path for path in files if path.name.split("-")[0].removesuffix(".parquet") == self.config.split]
            if not files and names:
                raise ConfigError(f"reader.split: '{self.config.split}' is none of: {', '.join(names)}.")
        if not files:
            raise ShardError(f"'{root}' holds neither state.json of save_to_disk nor .parquet files.")
        return files

    def fetch(self, where: str) -> bytes:
        """Bytes of one cell, out of the table, or out of the file that the cell names.

        Raises:
            SkipSample: the cell is empty or over 64 MiB.
        """
        path, number, name = json.loads(where)
        cell = _open(path).cell(number, name)
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if content is None and isinstance(cell, dict) and cell.get("path"):
            return super().fetch(str(inside(Path(path).parent, cell["path"])))
        if not isinstance(content, bytes) or not content:
            raise SkipSample(f"field '{name}' of row {number} in '{path}' holds no bytes")
        if len(content) > MAX_FILE_BYTES:
            raise SkipSample(f"field '{name}' of row {number} in '{path}' has {len(content):,} bytes, over the limit")
        return content

    def suffix(self, where: str) -> str:
        """File type by content: cells often carry no name."""
        try:
            return sniff(self.fetch(where)[:SNIFF_BYTES])
        except SkipSample:
            return ""

    def inputs(self) -> dict[str, str]:
        """The tables by size."""
        return {str(path): str(path.stat().st_size) for path in self.files()}


class _Table:
    """Random access to one Arrow stream (memory-mapped) or Parquet file (one row group at a time)."""

    def __init__(self, path: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self._group: tuple[int, Any] = (-1, None)
        try:
            if path.endswith(".parquet"):
                self._parquet = pq.ParquetFile(path)
                schema = self._parquet.schema_arrow
                sizes = [
                    self._parquet.metadata.row_group(each).num_rows for each in range(self._parquet.num_row_groups)
                ]
                self._starts = [sum(sizes[:each]) for each in range(len(sizes) + 1)]
            else:
                self._parquet = None
                self._arrow = pa.ipc.open_stream(pa.memory_map(path)).read_all()
                schema = self._arrow.schema
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"'{path}' is no table that pyarrow reads: {error}") from error
        self.names = list(schema.names)
        self._classes = class_names((schema.metadata or {}).get(b"huggingface"))

    def named(self, field: str, value: Any) -> Any:
        """A value, or the class that a ClassLabel's number stands for."""
        classes = self._classes.get(field)
        if classes is None or not isinstance(value, int):
            return value
        return classes[value] if 0 <= value < len(classes) else None  # -1: a test set without labels

    def plain(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """Rows with these fields alone."""
        if self._parquet is None:
            batches = self._arrow.select(names).to_batches(1024) if names else [self._arrow]
        else:
            batches = self._parquet.iter_batches(1024, columns=names or [self.names[0]])
        for batch in batches:
            yield from batch.to_pylist() if names else [{} for _ in range(batch.num_rows)]

    def cell(self, number: int, name: str) -> Any:
        """One value."""
        if self._parquet is None:
            return self._arrow[name][number].as_py()
        group = next(place for place, start in enumerate(self._starts[1:]) if number < start)
        if self._group[0] != group:
            self._group = (group, self._parquet.read_row_group(group))
        return self._group[1][name][number - self._starts[group]].as_py()


def class_names(described: bytes | None) -> dict[str, list[str]]:
    """Field -> classes of every ClassLabel, as ``datasets`` describes a schema; empty where it does not."""
    if described is None:
        return {}
    try:
        features = json.loads(described)["info"]["features"]
        labels = {name: each for name, each in features.items() if isinstance(each, dict) and "names" in each}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # another writer's words: its numbers stay numbers
    return {name: each["names"] for name, each in labels.items() if each.get("_type") == "ClassLabel"}


@lru_cache(maxsize=4)
def _open(path: str) -> _Table:
    return _Table(path)
