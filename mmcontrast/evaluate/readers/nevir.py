"""NevIR: two questions and two documents that differ in a negation; for text towers, without pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import MissingData
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing
from mmcontrast.evaluate.readers.choices import Asking, text_of
from mmcontrast.evaluate.readers.rows import read_rows

ENDINGS = (".parquet", ".jsonl", ".csv", ".tsv")


@READERS.register("nevir")
class NevIR:
    """A table with ``q1, q2, doc1, doc2``: parquet, jsonl, csv or tsv, whose name holds the split's.

    ``text`` is the paper's pairwise accuracy: both questions prefer their own document; ``text single`` counts each.

    Source: Weller et al. 2024, arXiv:2305.07614; MIT.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the table
        split: str = "test"  # train, validation or test

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pairs."""
        root, split = existing(self.config.root, what="NevIR"), self.config.split
        paths = [each for each in sorted(root.rglob("*")) if each.suffix in ENDINGS and split in each.name]
        if not paths:
            raise MissingData(f"NevIR: expected a table of the split '{split}' below '{root}': {', '.join(ENDINGS)}.")
        asking = Asking(f"NevIR {split}", modality="text", licence="MIT")
        for path in paths:
            for number, row in enumerate(read_rows(path, ("q1", "q2", "doc1", "doc2"))):
                where = f"'{path}' item {number}"
                questions = [text_of(row, name, where=where) for name in ("q1", "q2")]
                documents = [text_of(row, name, where=where) for name in ("doc1", "doc2")]
                asking.ask(
                    f"{path.stem} {number}", category=split,
                    contexts=[asking.text(question) for question in questions], texts=documents,
                )  # fmt: skip
        return asking.listed()
