"""COLA: two pictures with the same objects and attributes bound another way, and a caption of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import first_existing, inside, read_json
from mmcontrast.evaluate.readers.choices import Asking

FILES = ("data/COLA_multiobjects_matching_benchmark.json", "COLA_multiobjects_matching_benchmark.json")


@READERS.register("cola")
class COLA:
    """``COLA_multiobjects_matching_benchmark.json``: ``[picture, caption, picture, caption]`` a row, pictures by URL.

    A picture is looked for by the last part of its address.  The published number is ``image``: each caption prefers
    its own picture.

    Source: Ray et al. 2023, arXiv:2305.03689; MIT.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json, or the one above data/
        images: str = "images"  # folder of the pictures below root

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items."""
        root = self.config.root
        path = first_existing(root, FILES, what="COLA's pairs")
        asking = Asking("COLA", modality="image", licence="MIT")
        for number, row in enumerate(read_json(path, list)):
            if not isinstance(row, list) or len(row) != 4 or not all(isinstance(each, str) and each for each in row):
                raise ConfigError(f"'{path}' item {number}: expected [picture, caption, picture, caption].")
            names = [address.rstrip("/").rsplit("/", 1)[-1] for address in row[0::2]]
            contexts = [asking.file(name, inside(root / self.config.images, name)) for name in names]
            asking.ask(f"{number}", category="pairs", contexts=contexts, texts=row[1::2])
        return asking.listed()
