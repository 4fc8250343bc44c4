"""One folder a class: ImageNet's validation set, and any set of pictures or sounds sorted that way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing

ENDINGS = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".ogg", ".mp3", ".opus"),
}


@READERS.register("folder")
class Folder:
    """``root/CLASS/FILE``, classes in sorted order; names of classes from a list, a map, or the folders' own.

    ImageNet's validation set is this with ``names: open_clip:imagenet``, its folders being WordNet ids.  Folders of
    one name are one class, since no text can tell them apart: ImageNet has two "missile" and two "sunglasses".
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder that holds one folder a class
        modality: Literal["image", "audio"] = "image"
        names: str | None = None  # class names: a file, a shipped set, or open_clip:imagenet; null: the folders' names

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List every file of a known kind; folders without any stay classes."""
        root, endings = existing(self.config.root, what="a folder for each class"), ENDINGS[self.config.modality]
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        names = class_names(self.config.names, [folder.name for folder in folders])
        entries = [
            Entry(f"{folder.name}/{path.name}", {"label": name, "folder": folder.name}, {self.config.modality: path})
            for folder, name in zip(folders, names, strict=True)
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in endings
        ]
        return Listed(root.name, entries, classes=tuple(dict.fromkeys(names)))
