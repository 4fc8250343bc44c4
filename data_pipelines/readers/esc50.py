"""ESC-50: the unpacked archive, with its folds and classes."""

from __future__ import annotations

from collections.abc import Iterator

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, placed
from data_pipelines.readers.tables import read_table, require_fields
from data_pipelines.rows import file_digest
from mmcontrast.config import config
from mmcontrast.errors import ConfigError


@READERS.register("esc50")
class ESC50Reader(Reader):
    """Clips with class, fold and source file; the caption is the class in words.

    Source: Piczak 2015, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia.
    """

    @config
    class Config(ReaderConfig):
        """Where the archive is."""

        folder: str  # ESC-50-master: meta/esc50.csv and audio/
        folds: tuple[int, ...] = ()  # keep these folds; empty: all five
        template: str = "{label}"  # caption, as in "This is a sound of {label}."

    def items(self) -> Iterator[Item]:
        """Clips in the file's order."""
        if "{label}" not in self.config.template:
            raise ConfigError(f"reader.template: '{self.config.template}' has no {{label}} in it.")
        root = existing(self.config.folder, what="reader.folder", folder=True)
        path = existing(str(root / "meta" / "esc50.csv"), what="of reader.folder")
        for number, row in enumerate(read_table(path)):
            if number == 0:
                require_fields(row, ("filename", "fold", "category", "src_file"), path)
            if self.config.folds and int(row["fold"]) not in self.config.folds:
                continue
            label = row["category"].replace("_", " ")
            info = {
                "captions": [self.config.template.replace("{label}", label)],
                "label": label,
                "fold": row["fold"],
                "src_file": row["src_file"],
            }
            name = row["filename"]
            yield placed(root / "audio", name, column="audio", id=name.rsplit(".", 1)[0], info=info)

    def inputs(self) -> dict[str, str]:
        """The file's digest."""
        path = existing(f"{self.config.folder}/meta/esc50.csv", what="of reader.folder")
        return {str(path): file_digest(path)[1]}
