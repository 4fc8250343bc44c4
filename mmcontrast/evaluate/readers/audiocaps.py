"""AudioCaps: clips of AudioSet with captions, five each in the test and validation sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table


@READERS.register("audiocaps")
class AudioCaps:
    """``test.csv`` with ``audiocap_id, youtube_id, start_time, caption``; clips ``VIDEO_START.wav`` or ``VIDEO.wav``.

    392 of the 4,875 test captions occur more than once, some for different clips, so R@1 cannot reach 100%.

    Source: Kim et al. 2019, NAACL; for research.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder with the lists
        split: str = "test"  # name of the list
        audio: str = "audio"  # folder of the clips below root
        ending: str = "wav"  # of the clips

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """Join the captions of each clip."""
        root = existing(self.config.root, what="AudioCaps")
        path = existing(root / f"{self.config.split}.csv", what="AudioCaps' list")
        captions: dict[tuple[str, str], list[str]] = {}
        for row in read_table(path, ("youtube_id", "start_time", "caption")):
            captions.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"].strip())
        entries = [
            Entry(f"{video}_{start}", {"captions": texts, "caption": texts[0], "clip": f"{video}_{start}"},
                  {"audio": self._clip(video, start)})
            for (video, start), texts in captions.items()
        ]  # fmt: skip
        return Listed(f"AudioCaps {self.config.split}", entries)

    def _clip(self, video: str, start: str) -> Path:
        folder, ending = self.config.root / self.config.audio, self.config.ending
        for name in (f"{video}_{start}", f"Y{video}", f"Y{video}_{start}"):
            if inside(folder, f"{name}.{ending}").is_file():
                return folder / f"{name}.{ending}"
        return inside(folder, f"{video}.{ending}")
