"""COCO captions as published: ``captions_val2017.json`` with a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, placed
from data_pipelines.readers.tables import read_json
from data_pipelines.rows import file_digest
from mmcontrast.config import config
from mmcontrast.errors import ShardError


@READERS.register("coco")
class CocoReader(Reader):
    """One sample a picture with all its captions and its licence, as the file names it.

    Source: Chen et al. 2015, "Microsoft COCO Captions", arXiv:1504.00325; other sets share the layout.
    """

    @config
    class Config(ReaderConfig):
        """Which file and pictures."""

        file: str  # captions_train2017.json: {"images": [{id, file_name}], "annotations": [{image_id, caption}]}
        images: str  # folder that the file's names start from

    def items(self) -> Iterator[Item]:
        """Pictures in the file's order, captions in that of their annotations."""
        path = existing(self.config.file, what="reader.file")
        root = existing(self.config.images, what="reader.images", folder=True)
        tree = read_json(path)
        try:
            licences = {each["id"]: each["name"] for each in tree.get("licenses", [])}
            captions: dict[Any, list[str]] = {}
            for each in tree["annotations"]:
                captions.setdefault(each["image_id"], []).append(each["caption"])
            for each in tree["images"]:
                yield self._item(each, root, captions, licences)
        except (KeyError, TypeError, AttributeError) as error:
            raise ShardError(
                f"'{path}' is not in COCO's layout: {type(error).__name__} {error}. For dataset_coco.json, with "
                "Karpathy's splits, use reader.type=karpathy."
            ) from error

    def _item(
        self, entry: dict[str, Any], root: Path, captions: dict[Any, list[str]], licences: dict[Any, str]
    ) -> Item:
        name = entry["file_name"]
        info: dict[str, Any] = {"captions": captions.get(entry["id"], []), "cocoid": entry["id"]}
        if entry.get("license") in licences:
            info["licence"] = licences[entry["license"]]
        return placed(root, name, column="image", id=str(Path(name).with_suffix("")), info=info)

    def inputs(self) -> dict[str, str]:
        """The file's digest."""
        return {self.config.file: file_digest(existing(self.config.file, what="reader.file"))[1]}
