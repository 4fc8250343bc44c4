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

    Source: Tzanetakis and Cook 2002; faults in Sturm 2013, arXiv:1306.1461.
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
        entries = [
            Entry(path.name, {"label": spoken[genre]}, {"audio": path})
            for genre in GENRES
            for path in sorted((folder / genre).glob("*"))
            if path.suffix.lower() in (".wav", ".au", ".mp3", ".flac")
        ]
        return Listed("GTZAN", entries, classes=tuple(spoken.values()))
