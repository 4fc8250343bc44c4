"""CIRR: find a picture by another picture and the change that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json


@READERS.register("cirr")
class CIRR:
    """``captions/cap.rc2.SPLIT.json`` (queries) and ``image_splits/split.rc2.SPLIT.json`` (name -> file).

    The test set's targets are not published; the validation set's are.

    Source: Liu et al. 2021, arXiv:2108.04024; annotations MIT, pictures NLVR2's terms.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of captions and image_splits
        split: str = "val"
        images: str = "."  # folder of the pictures below root

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pool of pictures, and the queries over it."""
        root, split = existing(self.config.root, what="CIRR"), self.config.split
        files = read_json(existing(root / "image_splits" / f"split.rc2.{split}.json", what="CIRR's pictures"), dict)
        path = existing(root / "captions" / f"cap.rc2.{split}.json", what="CIRR's queries")
        entries = [
            Entry(str(name), {"picture": str(name)}, {"image": inside(root / self.config.images, str(place))})
            for name, place in files.items()
        ]
        queries = []
        for row in read_json(path, list):
            try:
                queries.append(
                    {
                        "key": str(row["pairid"]),
                        "reference": str(row["reference"]),
                        "text": str(row["caption"]),
                        "target": str(row["target_hard"]),
                        "subset": [str(name) for name in row["img_set"]["members"]],
                        "excluded": [str(row["reference"])],  # from both pools, as the official server does
                    }
                )
            except (KeyError, TypeError) as error:
                raise ConfigError(f"'{path}': a query lacks {error}; the test split has no targets.") from error
        return Listed(f"CIRR {split}", entries, queries=queries, licence="annotations MIT")
