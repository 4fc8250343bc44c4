"""VGGSound: ten-second clips of videos in 309 classes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_text


@READERS.register("vggsound")
class VGGSound:
    """``vggsound.csv`` without a header: video, start second, label, split; clips ``VIDEO_000030.wav``.

    Source: Chen et al. 2020, arXiv:2004.14368; licence CC BY.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder with vggsound.csv and the clips
        audio: str = "audio"  # folder of the clips below root
        ending: str = "wav"  # of the clips
        split: Literal["test", "train"] = "test"

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the clips of the split; classes are all labels of the list, sorted."""
        path = existing(existing(self.config.root, what="VGGSound") / "vggsound.csv", what="VGGSound's list")
        rows = []
        for number, row in enumerate(csv.reader(io.StringIO(read_text(path))), start=1):
            if len(row) != 4 or not row[1].strip().isdigit():
                raise ConfigError(f"'{path}' line {number}: expected video, start second, label, split.")
            rows.append([cell.strip() for cell in row])
        entries = [
            Entry(
                f"{video}_{int(start):06d}",
                {"label": label, "video": video},
                {
                    "audio": inside(
                        self.config.root / self.config.audio, f"{video}_{int(start):06d}.{self.config.ending}"
                    )
                },
            )
            for video, start, label, split in rows
            if split == self.config.split
        ]
        return Listed(f"VGGSound {self.config.split}", entries, classes=tuple(sorted({row[2] for row in rows})))
