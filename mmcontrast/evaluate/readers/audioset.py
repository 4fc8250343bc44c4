"""AudioSet's segment lists: clips of videos with one or more of 527 labels."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table, read_text


@READERS.register("audioset")
class AudioSet:
    """``eval_segments.csv`` (three comment lines, then video, start, end, labels) and ``class_labels_indices.csv``.

    Clips are ``VIDEO.wav`` or ``YVIDEO.wav``, whichever is there.  Videos vanish: those without a file are named.

    Source: Gemmeke et al. 2017, ICASSP; licence CC BY.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder with the lists and the clips
        segments: str = "eval_segments.csv"  # list below root
        audio: str = "audio"  # folder of the clips below root
        ending: str = "wav"  # of the clips

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the segments; classes in the order of their numbers."""
        root = existing(self.config.root, what="AudioSet")
        labels = read_table(
            existing(root / "class_labels_indices.csv", what="AudioSet's classes"), ("index", "mid", "display_name")
        )
        names = {row["mid"]: row["display_name"] for row in sorted(labels, key=lambda row: int(row["index"]))}
        path = existing(root / self.config.segments, what="AudioSet's segments")
        entries = []
        for number, row in enumerate(csv.reader(io.StringIO(read_text(path)), skipinitialspace=True), start=1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) != 4:
                raise ConfigError(f"'{path}' line {number}: expected video, start, end and labels.")
            video, start, _, mids = row
            unknown = [mid for mid in mids.split(",") if mid not in names]
            if unknown:
                raise ConfigError(f"'{path}' line {number}: label '{unknown[0]}' is not in class_labels_indices.csv.")
            info = {"labels": [names[mid] for mid in mids.split(",")], "video": video}
            entries.append(Entry(f"{video}_{start}", info, {"audio": self._clip(video)}))
        return Listed(f"AudioSet {path.stem}", entries, classes=tuple(names.values()), licence="CC BY")

    def _clip(self, video: str) -> Path:
        folder, ending = self.config.root / self.config.audio, self.config.ending
        prefixed = inside(folder, f"Y{video}.{ending}")
        return prefixed if prefixed.is_file() else inside(folder, f"{video}.{ending}")
