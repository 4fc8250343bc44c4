"""Clotho 2.1: ``clotho_captions_SPLIT.csv`` with a folder of clips, and its metadata file if given."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, placed
from data_pipelines.readers.tables import read_table, require_fields
from data_pipelines.rows import file_digest
from mmcontrast.config import config
from mmcontrast.errors import ShardError

CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


@READERS.register("clotho")
class ClothoReader(Reader):
    """One sample a clip with its five captions; licence and keywords from the metadata file.

    Source: Drossos, Lipping & Virtanen 2020, "Clotho: an Audio Captioning Dataset", arXiv:1910.09387.
    """

    @config
    class Config(ReaderConfig):
        """Which file and clips."""

        file: str  # file_name, caption_1 ... caption_5
        audio: str  # folder of clips
        metadata: str | None = None  # clotho_metadata_SPLIT.csv: keywords, sound_link, license

    def items(self) -> Iterator[Item]:
        """Clips in the file's order."""
        path = existing(self.config.file, what="reader.file")
        root = existing(self.config.audio, what="reader.audio", folder=True)
        extra = _read_metadata(existing(self.config.metadata, what="reader.metadata")) if self.config.metadata else {}
        for number, row in enumerate(read_table(path)):
            if number == 0:
                require_fields(row, ("file_name", *CAPTIONS), path)
            name = row["file_name"]
            info: dict[str, Any] = {"captions": [row[each] for each in CAPTIONS if row[each].strip()]}
            yield placed(root, name, column="audio", id=Path(name).stem, info=info | extra.get(name, {}))

    def inputs(self) -> dict[str, str]:
        """The files' digests."""
        files = [self.config.file, *([self.config.metadata] if self.config.metadata else [])]
        return {each: file_digest(existing(each, what="reader.file"))[1] for each in files}


def _read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # the published files are Windows-1252
        text = content.decode("cp1252", errors="replace")
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "file_name" not in rows[0]:
        raise ShardError(f"'{path}' has no field 'file_name'.")
    wanted = {"keywords": "keywords", "sound_link": "link", "license": "licence"}
    return {row["file_name"]: {new: row[old] for old, new in wanted.items() if row.get(old)} for row in rows}
