"""FSD50K: Freesound clips with one or more of 200 AudioSet labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table, read_text


@READERS.register("fsd50k")
class FSD50K:
    """``FSD50K.ground_truth/{eval,dev}.csv``, ``vocabulary.csv`` and ``FSD50K.eval_audio/*.wav``; multi-label.

    Source: Fonseca et al. 2022, arXiv:2010.00475; licences of the clips differ, the set is CC BY.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder that holds FSD50K.ground_truth
        split: Literal["eval", "train", "val"] = "eval"  # train and val are parts of dev

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the clips of the split; classes in the vocabulary's order."""
        root, split = existing(self.config.root, what="FSD50K"), self.config.split
        truth = existing(root / "FSD50K.ground_truth", what="FSD50K's labels")
        part = "eval" if split == "eval" else "dev"
        columns = ("fname", "labels") if part == "eval" else ("fname", "labels", "split")
        rows = read_table(existing(truth / f"{part}.csv", what=f"labels of {part}"), columns)
        rows = [row for row in rows if part == "eval" or row["split"] == split]
        vocabulary = truth / "vocabulary.csv"
        if vocabulary.is_file():
            raw = [line.split(",")[1] for line in read_text(vocabulary).splitlines() if line.count(",") >= 2]
        else:
            raw = sorted({label for row in rows for label in row["labels"].split(",")})
        spoken = dict(zip(raw, (spoken_label(name) for name in class_names(None, raw)), strict=True))
        entries = [
            Entry(
                row["fname"],
                {"labels": [spoken.get(label, spoken_label(label)) for label in row["labels"].split(",")]},
                {"audio": inside(root / f"FSD50K.{part}_audio", f"{row['fname']}.wav")},
            )
            for row in rows
        ]
        return Listed(f"FSD50K {split}", entries, classes=tuple(spoken.values()), licence="CC BY")


def spoken_label(name: str) -> str:
    """FSD50K writes ``Chirp_and_tweet``: lower case and spaces."""
    return name.replace("_", " ").lower()
