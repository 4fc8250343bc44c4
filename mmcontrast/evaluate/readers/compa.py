"""CompA: two sounds and two captions that differ in the order of events, or in what does what."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import first_existing, inside, read_text
from mmcontrast.evaluate.readers.choices import Asking

FILES = {
    "order": (("CompA_order/CompA_order_benchmark.csv", "CompA_order_benchmark.csv"), "CompA_order_files"),
    "attribute": (("CompA_attribute/Compa-Attribute.csv", "Compa-Attribute.csv"), "CompA_attribute_files"),
}
CAPTIONS = ("pair_caption", "reversed_pair_caption")
SOUNDS = ("pair_file", "reversed_pair_file")


@READERS.register("compa")
class CompA:
    """``CompA_order_benchmark.csv`` or ``Compa-Attribute.csv`` with the folder of files beside it.

    In the attribute file the names of the sounds stand in the second columns of that name (``pair_file.1``); the first
    hold video ids.  Triplets are left aside, as in the published code.

    Source: Ghosh et al. 2024, arXiv:2310.08753; no licence is given.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the csv, or the one above
        part: Literal["order", "attribute"] = "order"
        audio: str | None = None  # folder of the sounds; null: the one that lies beside the csv

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pairs."""
        files, folder = FILES[self.config.part]
        path = first_existing(self.config.root, files, what=f"CompA {self.config.part}")
        sounds = path.parent / folder if self.config.audio is None else self.config.root / self.config.audio
        rows = list(csv.reader(io.StringIO(read_text(path))))
        header = [name.strip() for name in rows[0]] if rows else []
        places = [_last(header, name, path) for name in (*CAPTIONS, *SOUNDS)]
        asking = Asking(f"CompA {self.config.part}", modality="audio")
        for number, row in enumerate(rows[1:], start=2):
            if len(row) <= max(places):
                raise ConfigError(f"'{path}' line {number}: fewer cells than columns.")
            cells = [row[place].strip() for place in places]
            if not all(cells):
                raise ConfigError(f"'{path}' line {number}: expected two captions and two files.")
            contexts = [asking.file(name, inside(sounds, name)) for name in cells[2:]]
            asking.ask(f"{number}", category=self.config.part, contexts=contexts, texts=cells[:2])
        return asking.listed()


def _last(header: list[str], name: str, path: Path) -> int:
    """Place of a column; a second one of the same name, or with the ending .1, is the one that is meant."""
    found = [place for place, each in enumerate(header) if each in (name, f"{name}.1")]
    if not found:
        raise ConfigError(f"'{path}' has no column {name}; it has: {', '.join(header)}.")
    return found[-1]
