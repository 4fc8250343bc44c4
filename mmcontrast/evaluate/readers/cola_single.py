"""COLA's single objects: for each class, an object with attributes, pictures that show it and that nearly do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import first_existing, inside, read_json


@READERS.register("cola_single")
class COLASingle:
    """``COLA_singleobjects_benchmark_{GQA,CLEVR,PACO}.json``, for ``multi_label`` with ``among: hard``.

    The file is a list of two or an object of ``labels``, the classes, and ``data``: rows of picture, annotation (not
    in PACO's), and two lists of 0 and 1 a class: whether the picture shows it, and whether it is hard for it, as one
    that shares a word with it is.  The published number is the mean over classes of average precision among hard
    pictures.  A picture is looked for by the last part of its address.

    Source: Ray et al. 2023, arXiv:2305.03689; MIT.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json, or the one above data/
        part: Literal["GQA", "CLEVR", "PACO"] = "GQA"  # whose pictures
        images: str = "images"  # folder of the pictures below root

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pictures."""
        root, name = self.config.root, f"COLA_singleobjects_benchmark_{self.config.part}.json"
        path = first_existing(root, (f"data/{name}", name), what="COLA's single objects")
        stored = read_json(path, (list, dict))
        classes, data = _halves(stored, path)
        entries = []
        for number, row in enumerate(data):
            if not isinstance(row, list) or len(row) < 3 or not isinstance(row[0], str):
                raise ConfigError(f"'{path}' item {number}: expected [picture, annotation, label, hard_list].")
            image = row[0].rstrip("/").rsplit("/", 1)[-1]
            labels, hard = (_named(each, classes, f"'{path}' item {number}") for each in row[-2:])
            place = inside(root / self.config.images, image)
            entries.append(Entry(f"{number}", {"file": image, "labels": labels, "hard": hard}, {"image": place}))
        return Listed(f"COLA single {self.config.part}", entries, classes=tuple(classes), licence="MIT")


def _halves(stored: Any, path: Path) -> tuple[list[str], list[Any]]:
    keyed = isinstance(stored, dict) and {"labels", "data"} <= set(stored)
    halves = [stored["labels"], stored["data"]] if keyed else stored
    if not isinstance(halves, list) or len(halves) != 2 or not all(isinstance(each, list) for each in halves):
        raise ConfigError(f"'{path}': expected two lists, labels and data.")
    classes, data = halves
    if not all(isinstance(each, str) for each in classes) or len(set(classes)) != len(classes):
        raise ConfigError(f"'{path}': labels should be classes, each once.")
    return classes, data


def _named(flags: Any, classes: list[str], where: str) -> list[str]:
    if not isinstance(flags, list) or len(flags) != len(classes) or not all(each in (0, 1) for each in flags):
        raise ConfigError(f"{where}: expected 0 or 1 for each of the {len(classes)} classes.")
    return [name for name, flag in zip(classes, flags, strict=True) if flag]
