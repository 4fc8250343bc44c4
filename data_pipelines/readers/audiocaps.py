"""AudioCaps: ``train.csv``, ``val.csv`` or ``test.csv`` with a folder of clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.readers import READERS
from data_pipelines.readers.base import (
    AUDIO_SUFFIXES,
    Item,
    Reader,
    ReaderConfig,
    existing,
    placed,
)
from data_pipelines.readers.tables import read_table, require_fields
from data_pipelines.rows import file_digest
from mmcontrast.config import config

# How downloaders name a clip: by YouTube id, with a "Y" before it, with its start in seconds or milliseconds.
PATTERNS = ("{youtube_id}", "Y{youtube_id}", "{youtube_id}_{start_time}", "{youtube_id}_{start_ms}", "{audiocap_id}")


@READERS.register("audiocaps")
class AudioCapsReader(Reader):
    """One sample a clip with all its captions (1 in train, 5 in val and test).

    Source: Kim, Kim, Lee & Kim 2019, "AudioCaps: Generating Captions for Audios in the Wild", NAACL.
    """

    @config
    class Config(ReaderConfig):
        """Which file and clips."""

        file: str  # audiocap_id, youtube_id, start_time, caption
        audio: str  # folder of clips, named in any of the usual ways

    def items(self) -> Iterator[Item]:
        """Clips in the order of their first caption; those without a file are named by the job."""
        path = existing(self.config.file, what="reader.file")
        root = existing(self.config.audio, what="reader.audio", folder=True)
        present = {each.stem: each for each in sorted(root.iterdir()) if each.suffix.lower()[1:] in AUDIO_SUFFIXES}
        clips: dict[tuple[str, str], dict[str, Any]] = {}
        for number, row in enumerate(read_table(path)):
            if number == 0:
                require_fields(row, ("audiocap_id", "youtube_id", "start_time", "caption"), path)
            clip = clips.setdefault((row["youtube_id"], row["start_time"]), {**row, "captions": []})
            clip["captions"].append(row["caption"])
        for (youtube_id, start), clip in clips.items():
            found = _find(clip, present)
            name = f"{youtube_id}.wav" if found is None else found.name
            info = {"captions": clip["captions"], "youtube_id": youtube_id, "start_time": start}
            yield placed(root, name, column="audio", id=f"{youtube_id}-{start}", info=info)

    def inputs(self) -> dict[str, str]:
        """The file's digest."""
        return {self.config.file: file_digest(existing(self.config.file, what="reader.file"))[1]}


def _find(clip: dict[str, Any], present: dict[str, Path]) -> Path | None:
    fields = {**clip, "start_ms": _milliseconds(clip["start_time"])}
    names = [pattern.format(**fields) for pattern in PATTERNS]
    return next((present[name] for name in names if name in present), None)


def _milliseconds(start: str) -> str:
    try:
        return str(round(1000 * float(start)))
    except ValueError:
        return start
