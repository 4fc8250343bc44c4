"""NegBench: which of four captions, with and without negation, fits a picture?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import first_existing, inside, read_table
from mmcontrast.evaluate.readers.choices import Asking, number_of, text_of
from mmcontrast.evaluate.readers.rows import literal_list

FILES = ("images/COCO_val_mcq_llama3.1_rephrased.csv", "COCO_val_mcq_llama3.1_rephrased.csv")


@READERS.register("negbench")
class NegBench:
    """A csv of choices (``image_path, correct_answer, caption_0..``), or of captions (``filepath, captions``).

    Of choices, categories are the kind of the right caption (positive, negative, hybrid).  A csv of captions, such as
    ``COCO_val_negated_retrieval_llama3.1_rephrased_affneg_true.csv``, is a set for ``retrieval`` with the field
    ``captions``.  Pictures are looked for by the last part of their path.

    Source: Alhamoud et al. 2025, arXiv:2501.09425; MIT.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the csv files
        file: str | None = None  # csv below root; null: COCO's choices
        images: str = "val2017"  # folder of the pictures below root

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items, or the pictures with their captions."""
        root = self.config.root
        names = FILES if self.config.file is None else (self.config.file,)
        path = first_existing(root, names, what="NegBench's csv")
        rows = read_table(path, ())
        if rows and "correct_answer" in rows[0]:
            return self._choices(path, rows)
        if rows and {"filepath", "captions"} <= set(rows[0]):
            entries = []
            for number, row in enumerate(rows, start=2):
                captions = literal_list(row["captions"], where=f"'{path}' line {number}")
                name = Path(row["filepath"]).name
                info = {"captions": captions, "caption": captions[0] if captions else "", "picture": name}
                entries.append(Entry(name, info, {"image": inside(root / self.config.images, name)}))
            return Listed(path.stem, entries, licence="MIT")
        raise ConfigError(f"'{path}': expected the columns correct_answer, or filepath and captions.")

    def _choices(self, path: Path, rows: list[dict[str, str]]) -> Collection:
        columns = [name for name in rows[0] if name.startswith("caption_")]
        asking = Asking(path.stem, modality="image", licence="MIT")
        for number, row in enumerate(rows, start=2):
            where = f"'{path}' line {number}"
            name = Path(text_of(row, "image_path", where=where)).name
            place = number_of(row, "correct_answer", where=where)
            if not 0 <= place < len(columns):
                raise ConfigError(f"{where}: correct_answer {place}, but {len(columns)} captions.")
            asking.ask(
                f"{number}",
                category=row.get("correct_answer_template") or "all",
                contexts=[asking.file(name, inside(self.config.root / self.config.images, name))],
                texts=[text_of(row, column, where=where) for column in columns],
                right=[[place]],
            )
        return asking.listed()
