"""Evaluators of the text tower alone: similarity of sentences, and probes of SentEval's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.sts import overlap
from tests.evaluate.fakes import FakeEncoder


def evaluate(kind: str, encoder: FakeEncoder, source: str, **fields: Any) -> Report:
    cls = EVALUATORS.get(kind)
    return cls(parse(cls.Config, {"source": source, **fields})).run(
        Bench(encoder, FakeEncoder(noise=1, kind="random"))
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pairs that share none, one or two numbers of three; the more the higher they are judged."""
    folder, lines = tmp_path_factory.mktemp("sts"), []
    for number in range(60):
        kept = number % 3
        first = [10 * number + place for place in range(3)]
        second = first[:kept] + [1000 + 10 * number + place for place in range(kept, 3)]
        sentences = [f"numbers {' and '.join(map(str, each))}" for each in (first, second)]
        lines.append("\t".join(["main", "MSRvid", "2012test", str(number), f"{5 * kept / 3:.3f}", *sentences]))
    (folder / "sts-test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"sts_benchmark:{folder}"


def test_similar_sentences_are_judged_similar(pairs: str) -> None:
    report = evaluate("sts", FakeEncoder(noise=0.1), pairs)
    for name in ("spearman", "pearson"):
        metric = report.metrics[name]
        assert metric.value > 0.9 and metric.low is not None and metric.low > 0.8 and metric.unit == "number"
        assert metric.controls["constant"] == 0 and abs(metric.controls["shuffled"]) < 0.35
        assert abs(metric.controls["untrained"]) < 0.35  # 60 pairs: a standard error of 0.13
        assert metric.controls["word_overlap"] > 0.9
    assert report.num_rows == 60 and report.modalities == ("text",)


def test_word_overlap_is_of_sets_of_words() -> None:
    assert overlap("A dog, a cat.", "the cat") == 1 / 4 and overlap("", "") == 0


def test_a_judgement_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,much\n", encoding="utf-8")
    (tmp_path / "pairs.yaml").write_text("type: table\nfile: pairs.csv\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="row '000001': 'score' is 'much', no number"):
        evaluate("sts", FakeEncoder(), str(tmp_path / "pairs.yaml"))


@pytest.fixture(scope="module")
def senteval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences that say their class's number beside one of their own."""
    folder = tmp_path_factory.mktemp("senteval")
    for label, number in (("pos", 1), ("neg", 2)):
        path = folder / "MR" / f"rt-polarity.{label}"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{number} and {1000 * number + each}\n" for each in range(60)), encoding="latin-1")
    (folder / "TREC").mkdir()
    for name, rows in (("train_5500", 40), ("TREC_10", 10)):
        lines = [f"{label}:x {number} or {rows + each} ?" for label, number in (("NUM", 3), ("LOC", 4))
                 for each in range(rows)]  # fmt: skip
        (folder / "TREC" / f"{name}.label").write_text("\n".join(lines), encoding="latin-1")
    (folder / "trec.yaml").write_text("type: senteval\ntask: TREC\nroot: .\n", encoding="utf-8")
    return folder


def test_a_probe_of_sentences_over_folds(senteval: Path) -> None:
    report = evaluate("linear_probe", FakeEncoder(noise=0.2), f"senteval:{senteval}", modality="text", fold="fold")
    metric = report.metrics["top1"]
    assert metric.value > 0.85 and metric.controls["untrained"] < 0.7 and metric.chance == 0.5
    assert report.num_rows == 120 and len(report.facts["folds"]) == 10


def test_a_probe_of_sentences_with_a_published_split(senteval: Path) -> None:
    source = str(senteval / "trec.yaml")
    report = evaluate("linear_probe", FakeEncoder(noise=0.2), source, train_source=source, modality="text",
                      where={"split": "test"}, train_where={"split": "train"})  # fmt: skip
    assert report.metrics["top1"].value > 0.95 and report.num_rows == 20 and report.facts["training_rows"] == 80
