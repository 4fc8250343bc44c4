"""Clotho: Freesound clips of 15 to 30 seconds with five captions each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table

CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


@READERS.register("clotho")
class Clotho:
    """``clotho_captions_SPLIT.csv`` with ``file_name, caption_1 .. caption_5`` and a folder of clips for each split.

    Source: Drossos, Lipping and Virtanen 2020, arXiv:1910.09387; not for commercial use.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder with the lists and the folders of clips
        split: Literal["evaluation", "validation", "development"] = "evaluation"

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the clips of the split."""
        root, split = existing(self.config.root, what="Clotho"), self.config.split
        path = existing(root / f"clotho_captions_{split}.csv", what="Clotho's captions")
        folder = root / "clotho_audio_files" / split
        folder = folder if folder.is_dir() else root / split
        entries = []
        for row in read_table(path, ("file_name", *CAPTIONS)):
            captions = [row[name].strip() for name in CAPTIONS]
            info = {"captions": captions, "caption": captions[0], "clip": row["file_name"]}
            entries.append(Entry(row["file_name"], info, {"audio": inside(folder, row["file_name"])}))
        return Listed(f"Clotho {split}", entries)
