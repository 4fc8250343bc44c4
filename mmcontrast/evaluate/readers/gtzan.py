"""GTZAN: 1,000 excerpts of music in ten genres, one of which does not decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import first_existing

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


@READERS.register("gtzan")
class GTZAN:
    """``genres_original/GENRE/GENRE.00000.wav``.  ``jazz.00054.wav`` is damaged as published: it is named as missing.

    Rows carry ``split``: train, validation or test of the fault-filtered lists, whose artists do not mix, else
    "left out".  The lists are those that torchaudio ships.

    Source: Tzanetakis and Cook 2002; faults in Sturm 2013, arXiv:1306.1461; split of Kereliuk et al. 2015,
    arXiv:1507.04761.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder that holds genres_original or genres

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the excerpts."""
        folder = first_existing(self.config.root, ("genres_original", "genres"), what="GTZAN")
        spoken = dict(zip(GENRES, class_names("gtzan", list(GENRES)), strict=True))
        splits = fault_filtered()
        entries = [
            Entry(path.name, {"label": spoken[genre], "split": splits.get(path.stem, "left out")}, {"audio": path})
            for genre in GENRES
            for path in sorted((folder / genre).glob("*"))
            if path.suffix.lower() in (".wav", ".au", ".mp3", ".flac")
        ]
        return Listed("GTZAN", entries, classes=tuple(spoken.values()))


def fault_filtered() -> dict[str, str]:
    """Split of every excerpt of the fault-filtered lists, by its name without ending; 930 of the 1,000 are in one."""
    from torchaudio.datasets import gtzan

    lists = {"train": gtzan.filtered_train, "validation": gtzan.filtered_valid, "test": gtzan.filtered_test}
    return {name: split for split, names in lists.items() for name in names}
