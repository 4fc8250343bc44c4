"""Semantic textual similarity: pairs of sentences with a judgement, as STS benchmark has them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, read_text


@READERS.register("sts_benchmark")
class STSBenchmark:
    """``sts-SPLIT.csv``: tabs, no header; genre, file, year, number, score, two sentences, perhaps their sources.

    Source: Cer et al. 2017, SemEval task 1.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of sts-train.csv, sts-dev.csv and sts-test.csv
        split: str = "test"

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pairs."""
        path = existing(self.config.root / f"sts-{self.config.split}.csv", what="STS benchmark's list")
        entries = []
        lines = csv.reader(io.StringIO(read_text(path)), delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, row in enumerate(lines, start=1):
            try:
                genre, _, _, _, score, first, second, *_ = row
                info = {"genre": genre, "score": float(score), "sentence1": first, "sentence2": second}
            except ValueError as error:
                raise ConfigError(f"'{path}' line {number}: expected seven columns or more: {error}") from error
            entries.append(Entry(f"{number:05d}", info))
        return Listed(f"STS benchmark {self.config.split}", entries)
