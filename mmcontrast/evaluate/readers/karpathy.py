"""COCO and Flickr captions in Karpathy's json, or the shorter lists that BLIP's and ARO's code use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, first_existing, inside, read_json

LISTS = (
    "dataset_coco.json", "dataset_flickr30k.json", "dataset_flickr8k.json",
    "coco_karpathy_test.json", "flickr30k_test.json", "dataset.json",
)  # fmt: skip


@READERS.register("karpathy")
class Karpathy:
    """Pictures with about five captions each, of one split; ``restval`` is training data.

    ``{"images": [{"filename", "filepath", "split", "sentences": [{"raw"}]}]}``, or a list of
    ``{"image", "caption": [..]}``.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json and, unless said otherwise, of the pictures
        annotations: str | None = None  # json below root; null: one of the usual names
        images: str = "."  # folder of the pictures below root
        split: str = "test"
        captions: int | None = None  # first captions kept of each picture; null: all

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pictures of the split."""
        root = self.config.root
        if self.config.annotations is None:
            path = first_existing(root, LISTS, what="captions in Karpathy's json")
        else:
            path = existing(root / self.config.annotations, what="captions")
        tree = read_json(path, (dict, list))
        rows = _short(tree) if isinstance(tree, list) else self._long(tree, path)
        entries = []
        for name, captions in rows:
            kept = captions if self.config.captions is None else captions[: self.config.captions]
            if not kept:
                raise ConfigError(f"'{path}': picture '{name}' has no caption.")
            place = inside(root / self.config.images, name)
            entries.append(Entry(name, {"captions": kept, "caption": kept[0], "picture": name}, {"image": place}))
        return Listed(f"{path.stem} {self.config.split}", entries)

    def _long(self, tree: dict[str, Any], path: Path) -> list[tuple[str, list[str]]]:
        try:
            splits = {str(each["split"]) for each in tree["images"]}
            if self.config.split not in splits:
                raise ConfigError(f"'{path}' has no split '{self.config.split}'. It has: {', '.join(sorted(splits))}.")
            return [
                (
                    str(Path(each.get("filepath", "")) / each["filename"]),
                    [str(sentence["raw"]).strip() for sentence in each["sentences"]],
                )
                for each in tree["images"]
                if each["split"] == self.config.split
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"'{path}' is not Karpathy's json: {type(error).__name__} {error}.") from error


def _short(rows: list[Any]) -> list[tuple[str, list[str]]]:
    try:
        return [
            (str(each["image"]), [each["caption"]] if isinstance(each["caption"], str) else list(each["caption"]))
            for each in rows
        ]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"a list of pictures needs 'image' and 'caption' in each row: {error}.") from error
