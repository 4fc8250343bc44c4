"""SugarCrepe and SugarCrepe++: a caption of a picture, and one that is wrong in a single place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json
from mmcontrast.evaluate.readers.choices import Asking, media_folder, text_of

PARTS = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
IMAGES = ("val2017", "images", "../val2017", "../coco/val2017")


@READERS.register("sugarcrepe")
class SugarCrepe:
    """``PART.json`` in the folder or in ``data/``; pictures of COCO's val2017.

    Rows with ``caption2`` are SugarCrepe++: both captions must beat the wrong one.  With ``task: text`` they are its
    text-only task: the two captions are more alike than either is to the wrong one, and no picture is looked at.

    Source: Hsieh et al. 2023, arXiv:2306.14610 (MIT); Dumpala et al. 2024, arXiv:2406.11171 (CC BY 4.0).
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json files, or the one above data/
        images: str | None = None  # folder of the pictures; null: val2017 in the folder, beside it or in ../coco
        task: Literal["image", "text"] = "image"  # text: of SugarCrepe++, without pictures

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items of all parts that are there."""
        root = existing(self.config.root, what="SugarCrepe")
        folder = root / "data" if (root / "data").is_dir() else root
        paths = [folder / f"{part}.json" for part in PARTS if (folder / f"{part}.json").is_file()]
        if not paths:
            raise MissingData(f"SugarCrepe: expected {PARTS[0]}.json and its siblings under '{folder}'.")
        images = media_folder(root, *((self.config.images,) if self.config.images else IMAGES))
        asking = Asking("SugarCrepe", modality="image", licence="MIT; of SugarCrepe++ CC BY 4.0")
        for path in paths:
            tree = read_json(path, (dict, list))
            for key, row in tree.items() if isinstance(tree, dict) else enumerate(tree):
                self._ask(asking, path, str(key), row, images)
        return asking.listed()

    def _ask(self, asking: Asking, path: Path, key: str, row: Any, images: Path) -> None:
        where = f"'{path}' item {key}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: expected a map.")
        picture = text_of(row, "filename", where=where)
        right = [text_of(row, name, where=where) for name in ("caption", "caption2") if name in row]
        texts = [*right, text_of(row, "negative_caption", where=where)]
        asked: dict[str, Any] = {"category": path.stem, "texts": texts, "cluster": picture}
        if self.config.task == "image":
            context = asking.file(picture, inside(images, picture))
            asking.ask(f"{path.stem} {key}", contexts=[context], right=[list(range(len(right)))], **asked)
        elif len(right) == 2:
            contexts = [asking.text(text) for text in right]
            there = [[False, True, True], [True, False, True]]  # no text is compared with itself
            asking.ask(f"{path.stem} {key}", contexts=contexts, right=[[1], [0]], valid=there, **asked)
        else:
            raise ConfigError(f"{where}: the text task is SugarCrepe++'s and needs 'caption2'.")
