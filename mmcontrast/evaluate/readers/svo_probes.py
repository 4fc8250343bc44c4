"""SVO-Probes: which of two pictures shows this subject, verb and object?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table
from mmcontrast.evaluate.readers.choices import Asking, number_of, text_of

NEGATIVES = {"subj_neg": "subject", "verb_neg": "verb", "obj_neg": "object"}


@READERS.register("svo_probes")
class SVOProbes:
    """``svo_probes.csv`` and pictures ``images/ID.jpg``; the pictures themselves are scattered over the web.

    ``image`` is right when the sentence prefers the right picture; categories are what the wrong one lacks.  Rows that
    are wrong in more than one part are left out, as in the authors' notebook.  Its own number needs a yes or no for
    every picture, which a similarity does not give.

    Source: Hendricks and Nematzadeh 2021, arXiv:2106.09141; list CC BY 4.0.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the csv
        images: str = "images"  # folder of the pictures below root
        ending: str = "jpg"  # of the pictures

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items."""
        path = existing(self.config.root / "svo_probes.csv", what="SVO-Probes")
        asking = Asking("SVO-Probes", modality="image", licence="list CC BY 4.0")
        columns = ("sentence", "pos_image_id", "neg_image_id", *NEGATIVES)
        for number, row in enumerate(read_table(path, columns), start=2):
            where = f"'{path}' line {number}"
            wrong = [name for column, name in NEGATIVES.items() if row[column].strip().lower() == "true"]
            sentence = row["sentence"].strip()
            if len(wrong) != 1 or not sentence:
                continue
            names = [f"{number_of(row, f'{side}_image_id', where=where)}" for side in ("pos", "neg")]
            contexts = [
                asking.file(name, inside(self.config.root / self.config.images, f"{name}.{self.config.ending}"))
                for name in names
            ]
            asking.ask(
                f"{number}", category=wrong[0], contexts=contexts, texts=[text_of(row, "sentence", where=where)],
                right=[[0], []],
            )  # fmt: skip
        return asking.listed()
