"""VALSE: captions and foils of six linguistic phenomena, each over pictures of other sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json
from mmcontrast.evaluate.readers.choices import Asking, text_of

PARTS = (
    "existence", "plurals", "counting-hard", "counting-small-quant", "counting-adversarial", "relations",
    "action-replacement", "actant-swap", "coreference-standard", "coreference-hard", "foil-it",
)  # fmt: skip
FOLDERS = {  # of the pictures, as the published code names them
    "existence": "visual7w/images", "plurals": "plurals/test_images", "counting-hard": "visual7w/images",
    "counting-small-quant": "visual7w/images", "counting-adversarial": "visual7w/images",
    "relations": "relations/test_images", "action-replacement": "actions/images_512",
    "actant-swap": "actions/images_512",
    "coreference-standard": "coref/release_too_many_is_this_in_color/images",
    "coreference-hard": "coref/release_v18/test_images", "foil-it": "COCO/val2014",
}  # fmt: skip
VOTES = 2  # of three annotators


@READERS.register("valse")
class VALSE:
    """``PART.json`` in the folder or in ``data/``; pictures where the published code has them, or under ``images``.

    Only items are used of which two of three annotators said that the caption alone fits.  ``text`` is the paper's
    pairwise accuracy acc_r; its acc, p_c and p_f need a head that says yes or no, which no dual encoder has.

    Source: Parcalabescu et al. 2022, arXiv:2112.07566; MIT.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json files, or the one above data/
        images: str | None = None  # one folder below root with all pictures; null: one a part, as published
        validated: bool = True  # only items that the annotators accept

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items of all parts that are there."""
        root = existing(self.config.root, what="VALSE")
        folder = root / "data" if (root / "data").is_dir() else root
        paths = [folder / f"{part}.json" for part in PARTS if (folder / f"{part}.json").is_file()]
        if not paths:
            raise MissingData(f"VALSE: expected {PARTS[0]}.json and its siblings under '{folder}'.")
        asking = Asking("VALSE", modality="image", licence="annotations MIT")
        for path in paths:
            for key, row in read_json(path, dict).items():
                where = f"'{path}' item {key}"
                if self.config.validated and _votes(row, where) < VOTES:
                    continue
                picture = text_of(row, "image_file", where=where)
                images = folder / FOLDERS[path.stem] if self.config.images is None else root / self.config.images
                context = asking.file(f"{FOLDERS[path.stem]}/{picture}", inside(images, picture))
                texts = [text_of(row, name, where=where) for name in ("caption", "foil")]
                asking.ask(f"{path.stem} {key}", category=path.stem, contexts=[context], texts=texts)
        return asking.listed()


def _votes(row: Any, where: str) -> int:
    try:
        return int(row["mturk"]["caption"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: no vote mturk.caption: {type(error).__name__} {error}.") from error
