"""SIMAT: pictures of "A subject relation object", and which part of each should become another."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_table

PARTS = ("subj", "rel", "obj")


@READERS.register("simat")
class SIMAT:
    """``transfos.csv``, ``triplets.csv`` and ``images/A SUBJECT RELATION OBJECT/REGION.jpg``, as its script cuts them.

    A target is any picture whose triplet is the changed one.  The source accepts a picture where OSCAR, another
    model, gives it more than 0.5 for the changed caption; that table is published as a pickle, which is not opened
    here, so numbers differ from the paper's.  Queries weigh 1 / sqrt(norm2), as in the source.

    Source: Couairon et al. 2022, arXiv:2112.03162; licence of the annotations CC BY-NC 4.0.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # the folder simat_db
        split: Literal["dev", "test"] = "test"

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pictures, and what each should become."""
        root = existing(self.config.root, what="SIMAT")
        path = existing(root / "transfos.csv", what="SIMAT's changes")
        triplets = read_table(existing(root / "triplets.csv", what="SIMAT's pictures"), ("region_id", *PARTS))
        entries, members = [], defaultdict(list)
        known: dict[str, dict[str, str]] = {}
        for row in triplets:
            key, name = row["region_id"], _caption(row)
            known[key] = row
            members[name].append(key)
            entries.append(Entry(key, {"caption": name}, {"image": inside(root / "images", f"{name}/{key}.jpg")}))
        queries = []
        for number, row in enumerate(
            read_table(path, ("region_id", "field", "value", "target", "norm2", "is_test")), 2
        ):
            if (row["is_test"] == "True") != (self.config.split == "test"):
                continue
            if row["region_id"] not in known or row["field"] not in PARTS:
                raise ConfigError(f"'{path}' line {number}: no picture '{row['region_id']}' or part '{row['field']}'.")
            queries.append(
                {
                    "key": f"{row['region_id']} {row['field']} {row['target']}",
                    "reference": row["region_id"],
                    "minus": row["value"],
                    "plus": row["target"],
                    "targets": members[_caption({**known[row["region_id"]], row["field"]: row["target"]})],
                    "weight": _weight(row["norm2"], path, number),
                }
            )
        return Listed(f"SIMAT {self.config.split}", entries, queries=queries, licence="CC BY-NC 4.0")


def _caption(row: dict[str, str]) -> str:
    return f"A {row['subj']} {row['rel']} {row['obj']}"


def _weight(text: str, path: Path, number: int) -> float:
    try:
        return float(text) ** -0.5
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"'{path}' line {number}: norm2 '{text}' is no number above 0.") from error
