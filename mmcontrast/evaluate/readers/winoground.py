"""Winoground: two pictures and two captions of the same words, each the caption of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside
from mmcontrast.evaluate.readers.choices import Asking, text_of
from mmcontrast.evaluate.readers.parquet_media import ParquetMedia
from mmcontrast.evaluate.readers.rows import read_rows

FIELDS = ("id", "caption_0", "caption_1", "collapsed_tag")
PICTURES = ("image_0", "image_1")


@READERS.register("winoground")
class Winoground:
    """The hub's parquet with ``image_0`` and ``image_1`` inside, or ``data/examples.jsonl`` with ``images/NAME.png``.

    Categories are the collapsed tags (Object, Relation, Both).

    Source: Thrush et al. 2022, arXiv:2204.03162; for research, behind an agreement.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the files
        images: str = "images"  # folder of the pictures below root, beside an examples.jsonl

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items."""
        root = existing(self.config.root, what="Winoground")
        asking = Asking("Winoground", modality="image", licence="Winoground's own, for research")
        tables = sorted(root.rglob("*.parquet"))
        if tables:
            for path in tables:
                media = ParquetMedia(path, PICTURES)
                for number, row in enumerate(media.fields(FIELDS)):
                    contexts = [
                        asking.made(
                            f"{row['id']} {name}", media.content(number, name), extension="png",
                            info={"id": row["id"], "picture": name},
                        )
                        for name in PICTURES
                    ]  # fmt: skip
                    _ask(asking, path, row, contexts)
            return asking.listed()
        inner = root / "data" / "examples.jsonl"
        path = inner if inner.is_file() else existing(root / "examples.jsonl", what="Winoground's items")
        for row in read_rows(path, (*FIELDS, *PICTURES)):
            names = [f"{row[name]}.png" for name in PICTURES]
            contexts = [asking.file(name, inside(root / self.config.images, name)) for name in names]
            _ask(asking, path, row, contexts)
        return asking.listed()


def _ask(asking: Asking, path: Path, row: dict[str, Any], contexts: list[str]) -> None:
    where = f"'{path}' item {row['id']}"
    asking.ask(
        str(row["id"]),
        category=str(row["collapsed_tag"]),
        contexts=contexts,
        texts=[text_of(row, name, where=where) for name in ("caption_0", "caption_1")],
    )
