"""ESC-50: 2,000 environmental recordings in 50 classes and five official folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table


@READERS.register("esc50")
class ESC50:
    """``meta/esc50.csv`` and ``audio/*.wav``; rows carry ``fold``, ``esc10`` and the recording they were cut from.

    Zero-shot numbers are over all 2,000 clips in most papers, over fold 1 in LAION-CLAP's README: say which.

    Source: Piczak 2015, ACM Multimedia; licence CC BY-NC.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # the unpacked ESC-50-master
        names: str | None = None  # class names: "esc50" for spoken ones, or a json file; null: the published labels

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the clips; classes in the order of their numbers."""
        root = existing(self.config.root, what="ESC-50")
        path = existing(root / "meta" / "esc50.csv", what="ESC-50's list")
        rows = read_table(path, ("filename", "fold", "target", "category", "src_file"))
        raw = [name for _, name in sorted({(int(row["target"]), row["category"]) for row in rows})]
        spoken = dict(zip(raw, class_names(self.config.names, raw), strict=True))
        entries = [
            Entry(
                row["filename"],
                {
                    "label": spoken[row["category"]],
                    "fold": row["fold"],
                    "recording": row["src_file"],
                    "esc10": row.get("esc10", ""),
                },
                {"audio": inside(root / "audio", row["filename"])},
            )
            for row in rows
        ]
        return Listed("ESC-50", entries, classes=tuple(spoken.values()), licence="CC BY-NC")
