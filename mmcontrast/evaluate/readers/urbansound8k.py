"""UrbanSound8K: 8,732 city sounds in ten classes and ten official folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table


@READERS.register("urbansound8k")
class UrbanSound8K:
    """``metadata/UrbanSound8K.csv`` and ``audio/foldN/*.wav``.  Folds must not be mixed: clips share recordings.

    Source: Salamon, Jacoby and Bello 2014, ACM Multimedia; licence CC BY-NC.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # the unpacked UrbanSound8K

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the clips; classes in the order of their numbers."""
        root = existing(self.config.root, what="UrbanSound8K")
        path = existing(root / "metadata" / "UrbanSound8K.csv", what="UrbanSound8K's list")
        rows = read_table(path, ("slice_file_name", "fsID", "fold", "classID", "class"))
        raw = [name for _, name in sorted({(int(row["classID"]), row["class"]) for row in rows})]
        spoken = dict(zip(raw, class_names(None, raw), strict=True))
        entries = [
            Entry(
                row["slice_file_name"],
                {"label": spoken[row["class"]], "fold": row["fold"], "recording": row["fsID"]},
                {"audio": inside(root / "audio" / f"fold{row['fold']}", row["slice_file_name"])},
            )
            for row in rows
        ]
        return Listed("UrbanSound8K", entries, classes=tuple(spoken.values()), licence="CC BY-NC")
