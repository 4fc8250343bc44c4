"""SentEval: sentences with classes, for text probes; its transfer tasks and its probing tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.data.source import stable_hash
from mmcontrast.errors import ConfigError, did_you_mean
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, read_text

FOLDS = 10
# task -> class -> file: no split is published, so folds are drawn here
BY_FILE = {
    "MR": {"positive": "MR/rt-polarity.pos", "negative": "MR/rt-polarity.neg"},
    "CR": {"positive": "CR/custrev.pos", "negative": "CR/custrev.neg"},
    "SUBJ": {"subjective": "SUBJ/subj.subjective", "objective": "SUBJ/subj.objective"},
    "MPQA": {"positive": "MPQA/mpqa.pos", "negative": "MPQA/mpqa.neg"},
}
TREC = {"train": "TREC/train_5500.label", "test": "TREC/TREC_10.label"}
SST2 = {split: f"SST/binary/sentiment-{split}" for split in ("train", "dev", "test")}
# probing task -> file whose lines are split, class, sentence
PROBING = {
    "Length": "sentence_length.txt", "WordContent": "word_content.txt", "Depth": "tree_depth.txt",
    "TopConstituents": "top_constituents.txt", "BigramShift": "bigram_shift.txt", "Tense": "past_present.txt",
    "SubjNumber": "subj_number.txt", "ObjNumber": "obj_number.txt", "OddManOut": "odd_man_out.txt",
    "CoordinationInversion": "coordination_inversion.txt",
}  # fmt: skip
PARTS = {"tr": "train", "va": "dev", "te": "test"}
TASKS = (*BY_FILE, "TREC", "SST2", *PROBING)
Row = tuple[str, str, str]  # split, class, sentence


@READERS.register("senteval")
class SentEval:
    """Rows carry ``text``, ``label``, and ``split``, or ``fold`` where a task has no split (MR, CR, SUBJ, MPQA).

    SentEval shuffles these into ten folds of equal class shares by scikit-learn; here each row's fold is a hash of its
    place, the same on every machine.  Equal sentences share a fold.

    Source: Conneau and Kiela 2018, arXiv:1803.05449; probing tasks Conneau et al. 2018, arXiv:1805.01070.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # SentEval's data folder, that of downstream, or that of probing
        task: str = "MR"  # MR, CR, SUBJ, MPQA, TREC, SST2, or a probing task such as BigramShift

        def __post_init__(self) -> None:
            if self.task not in TASKS:
                raise ValueError(f"task: no '{self.task}'.{did_you_mean(self.task, TASKS)} Known: {', '.join(TASKS)}.")

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the sentences."""
        task = self.config.task
        root = existing(self.config.root, what="SentEval")
        folder = root / ("probing" if task in PROBING else "downstream")
        rows = list(_rows(task, folder if folder.is_dir() else root))
        entries = []
        for number, (split, label, text) in enumerate(rows):
            place = {"split": split} if split else {"fold": str(stable_hash("senteval", text) % FOLDS)}
            entries.append(Entry(f"{number:06d}", {"text": text, "label": label, **place}))
        return Listed(f"SentEval {task}", entries, classes=tuple(sorted({label for _, label, _ in rows})))


def _rows(task: str, folder: Path) -> Iterator[Row]:
    if task in BY_FILE:
        for label, name in BY_FILE[task].items():
            for line in _lines(folder / name, encoding="latin-1"):
                yield "", label, line
    elif task == "TREC":
        for split, name in TREC.items():
            yield from _questions(folder / name, split)
    elif task == "SST2":
        for split, name in SST2.items():
            yield from _reviews(folder / name, split)
    else:
        yield from _probed(folder / PROBING[task])


def _questions(path: Path, split: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(path, encoding="latin-1"), 1):
        label, colon, rest = line.partition(":")
        if not colon or " " not in rest:
            raise ConfigError(f"'{path}' line {number}: expected CLASS:kind and a question.")
        yield split, label, rest.split(" ", 1)[1]


def _reviews(path: Path, split: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        text, tab, label = line.rpartition("\t")
        if not tab or label not in ("0", "1"):
            raise ConfigError(f"'{path}' line {number}: expected a sentence, a tab, 0 or 1.")
        yield split, "positive" if label == "1" else "negative", text


def _probed(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        part, *cells = line.split("\t")
        if part not in PARTS or len(cells) < 2:
            raise ConfigError(f"'{path}' line {number}: expected tr, va or te, a class and a sentence.")
        yield PARTS[part], cells[0], cells[-1]


def _lines(path: Path, *, encoding: str = "utf-8-sig") -> Iterator[str]:
    """Lines of a file that are not blank."""
    text = read_text(existing(path, what="SentEval"), encoding=encoding)
    # Not splitlines(): latin-1 holds separators that are no line's end here.
    return (line.strip() for line in text.split("\n") if line.strip())
