"""COCO and Flickr captions in the two JSON layouts that carry Karpathy's splits."""

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


@READERS.register("karpathy")
class KarpathyReader(Reader):
    """``dataset_coco.json`` ({"images": [{filename, sentences, split}]}) or a list of {image, caption}.

    Source: Karpathy & Fei-Fei 2015, arXiv:1412.2306, for the splits; the list is the layout of ALBEF and BLIP.
    """

    @config
    class Config(ReaderConfig):
        """Which file, pictures and part."""

        file: str  # dataset_coco.json, dataset_flickr30k.json, coco_karpathy_test.json, flickr30k_test.json
        images: str  # folder that the file's paths start from
        split: tuple[str, ...] = ()  # keep these parts, as in [train, restval]; empty: all

    def items(self) -> Iterator[Item]:
        """One sample a picture, with all its captions, in the file's order."""
        path = existing(self.config.file, what="reader.file")
        root = existing(self.config.images, what="reader.images", folder=True)
        tree = read_json(path)
        if isinstance(tree, dict) and "annotations" in tree:
            raise ShardError(f"'{path}' has COCO's own layout, without Karpathy's splits: use reader.type=coco.")
        entries = tree.get("images") if isinstance(tree, dict) else tree
        if not isinstance(entries, list):
            raise ShardError(f"'{path}' holds neither a list nor a map with 'images'.")
        try:
            yield from self._full(entries, root) if isinstance(tree, dict) else self._listed(entries, root)
        except (KeyError, TypeError) as error:
            raise ShardError(f"'{path}' is not in Karpathy's layout: {type(error).__name__} {error}") from error

    def _full(self, entries: list[dict[str, Any]], root: Path) -> Iterator[Item]:
        for entry in entries:
            if self.config.split and entry["split"] not in self.config.split:
                continue
            name = str(Path(entry.get("filepath", "")) / entry["filename"])
            info = {"captions": [sentence["raw"].strip() for sentence in entry["sentences"]], "split": entry["split"]}
            if "cocoid" in entry:
                info["cocoid"] = entry["cocoid"]
            yield placed(root, name, column="image", id=str(Path(name).with_suffix("")), info=info)

    def _listed(self, entries: list[dict[str, Any]], root: Path) -> Iterator[Item]:
        captions: dict[str, list[str]] = {}  # the training lists name a picture once a caption
        for entry in entries:
            given = entry["caption"]
            captions.setdefault(entry["image"], []).extend([given] if isinstance(given, str) else given)
        for name, texts in captions.items():
            yield placed(root, name, column="image", id=str(Path(name).with_suffix("")), info={"captions": texts})

    def inputs(self) -> dict[str, str]:
        """The file's digest."""
        return {self.config.file: file_digest(existing(self.config.file, what="reader.file"))[1]}
