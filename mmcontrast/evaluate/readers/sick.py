"""SICK: pairs of sentences with how related they are, from 1 to 5, and whether one follows from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import first_existing, read_table

FILES = {"train": "SICK_train.txt", "dev": "SICK_trial.txt", "test": "SICK_test_annotated.txt"}
PARTS = {"train": "TRAIN", "dev": "TRIAL", "test": "TEST"}


@READERS.register("sick")
class SICK:
    """``SICK_test_annotated.txt`` and its siblings of SemEval, or ``SICK.txt`` of the authors, with all splits in one.

    Source: Marelli et al. 2014, LREC; licence CC BY-NC-SA 3.0.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the files
        split: str = "test"  # train, dev or test

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pairs of the split."""
        split = self.config.split
        if split not in FILES:
            raise ConfigError(f"SICK has no split '{split}': it has {', '.join(FILES)}.")
        path = first_existing(self.config.root, (FILES[split], "SICK.txt"), what="SICK")
        whole = path.name == "SICK.txt"
        names = ("entailment_label", "SemEval_set") if whole else ("entailment_judgment",)
        columns = ("pair_ID", "sentence_A", "sentence_B", "relatedness_score", *names)
        entries = []
        for number, row in enumerate(read_table(path, columns, delimiter="\t", quotes=False), start=2):
            if whole and row["SemEval_set"].strip() != PARTS[split]:
                continue
            try:
                score = float(row["relatedness_score"])
            except ValueError as error:
                raise ConfigError(f"'{path}' line {number}: '{row['relatedness_score']}' is no number.") from error
            info = {"sentence1": row["sentence_A"], "sentence2": row["sentence_B"], "score": score}
            entries.append(Entry(row["pair_ID"], info | {"entailment": row[names[0]]}))
        return Listed(f"SICK {split}", entries, licence="CC BY-NC-SA 3.0")
