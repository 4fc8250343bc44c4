"""FashionIQ: find a garment by another one and two remarks on how it differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json


@READERS.register("fashioniq")
class FashionIQ:
    """``captions/cap.KIND.SPLIT.json``, ``image_splits/split.KIND.SPLIT.json`` and ``images/NAME.png`` or ``.jpg``.

    Both remarks are joined by "and", in the file's order.

    Source: Wu et al. 2021, arXiv:1905.12794.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of captions, image_splits and images
        kind: Literal["dress", "shirt", "toptee"] = "dress"
        split: str = "val"
        joint: str = " and "  # between the two remarks

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pool of pictures, and the queries over it."""
        root, name = existing(self.config.root, what="FashionIQ"), f"{self.config.kind}.{self.config.split}"
        pool = read_json(existing(root / "image_splits" / f"split.{name}.json", what="FashionIQ's pictures"), list)
        path = existing(root / "captions" / f"cap.{name}.json", what="FashionIQ's queries")
        entries = [Entry(str(each), {"picture": str(each)}, {"image": self._picture(str(each))}) for each in pool]
        queries = []
        for number, row in enumerate(read_json(path, list)):
            try:
                texts = [str(text).strip(" .,?") for text in row["captions"]]
                queries.append(
                    {
                        "key": f"{number:05d}",
                        "reference": str(row["candidate"]),
                        "text": self.config.joint.join(texts),
                        "target": str(row["target"]),
                        "subset": [],
                        "excluded": [],
                    }
                )
            except (KeyError, TypeError) as error:
                raise ConfigError(f"'{path}': a query lacks {error}; the test split has no targets.") from error
        return Listed(f"FashionIQ {name}", entries, queries=queries)

    def _picture(self, name: str) -> Path:
        folder = self.config.root / "images"
        jpeg = inside(folder, f"{name}.jpg")
        return jpeg if jpeg.is_file() else folder / f"{name}.png"
