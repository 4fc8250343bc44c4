"""ARO's COCO-Order and Flickr30k-Order: a caption and four others of its words in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, first_existing, inside
from mmcontrast.evaluate.readers.choices import Asking, media_folder, text_of
from mmcontrast.evaluate.readers.parquet_media import ParquetMedia
from mmcontrast.evaluate.readers.rows import read_rows

TEXTS = ("correct_caption", "hard_text_1", "hard_text_2", "hard_text_3", "hard_text_4")
FILES = {
    "coco": ("coco_order.parquet", "coco_order.jsonl", "coco_order.csv"),
    "flickr30k": ("flickr30k_order.parquet", "flickr30k_order.jsonl", "flickr30k_order.csv"),
}


@READERS.register("aro_order")
class AROOrder:
    """A frozen table: ``correct_caption``, ``hard_text_1`` to ``4`` and ``image`` (a file), or ``images`` (bytes).

    The columns are those of the copies on the Hugging Face hub.  The published code makes the wrong captions anew at
    every run, with spaCy and a random seed: no two tables hold the same.  ``mmcontrast probe make order`` makes one
    from any captions, without equal captions among them.

    Source: Yuksekgonul et al. 2023, arXiv:2210.01936.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the table
        of: Literal["coco", "flickr30k"] = "coco"  # which of the two
        file: str | None = None  # the table below root; null: coco_order or flickr30k_order, .parquet, .jsonl or .csv
        images: str = "images"  # folder of the pictures below root

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items."""
        root, what = self.config.root, f"ARO order of {self.config.of}"
        path = (
            first_existing(root, FILES[self.config.of], what=what)
            if self.config.file is None
            else existing(root / self.config.file, what=what)
        )
        asking = Asking(path.stem, modality="image", licence="annotations MIT")
        stored = ParquetMedia(path, ("images",)) if path.suffix == ".parquet" else None
        inner = stored is not None and "images" in stored.names
        rows = stored.fields(TEXTS) if stored is not None and inner else read_rows(path, ("image", *TEXTS))
        folder = media_folder(root, self.config.images, "val2014", "../coco", "../flickr30k")
        for number, row in enumerate(rows):
            where = f"'{path}' item {number}"
            if stored is not None and inner:
                context = asking.made(
                    f"row {number}", stored.content(number, "images"), extension="jpg", info={"row": number}
                )
            else:
                name = text_of(row, "image", where=where)
                context = asking.file(name, inside(folder, name))
            texts = [text_of(row, field, where=where) for field in TEXTS]
            asking.ask(f"{number}", category=self.config.of, contexts=[context], texts=texts)
        return asking.listed()
