"""Probes with trained heads, votes, several labels a row, and hierarchies, on made-up sets."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.learners.few_shot_heads import HeadName
from tests.evaluate.fakes import FakeEncoder, make_things, picture


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_things(tmp_path_factory.mktemp("sets") / "things", things=6, styles=("a", "b", "c"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("labelled")
    lines = ["file,labels,leaf,branch"]
    for number in range(12):
        (folder / f"{number}.png").write_bytes(picture(number % 4, number))
        lines.append(f"{number}.png,thing {number % 4}|thing {number % 4 + 10},thing {number % 4},half {number % 2}")
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    text = 'type: table\nfile: list.csv\nmedia: {image: file}\nlists: {labels: "|"}\n'
    (folder / "set.yaml").write_text(text, encoding="utf-8")
    return str(folder / "set.yaml")


def evaluate(kind: str, *, noise: float = 0.3, **fields: Any) -> Report:
    cls = EVALUATORS.get(kind)
    bench = Bench(FakeEncoder(noise=noise), FakeEncoder(noise=1.0, kind="random"))
    return cls(cls.Config(**fields)).run(bench)


def test_a_probe_over_official_folds_beats_its_controls(things: str) -> None:
    report = evaluate("linear_probe", source=things, label="thing", fold="style", cluster="thing")
    top1 = report.metrics["top1"]
    assert top1.value > 0.9 and top1.controls["untrained"] < 0.5 and top1.chance == pytest.approx(1 / 6)
    assert set(report.facts["folds"]) == {f"fold {style}" for style in "abc"} and report.num_rows == 18
    assert "mean of 3 folds" in top1.method and top1.low is not None and top1.low <= top1.value


def test_a_probe_of_texts_reads_a_field(things: str) -> None:
    report = evaluate(
        "linear_probe", source=things, modality="text", text_field="caption", label="thing", fold="style"
    )
    assert report.metrics["top1"].value == 1 and report.modalities == ("text",)


def test_neighbours_vote_from_another_source(things: str) -> None:
    report = evaluate("knn", source=things, train_source=things, where={"style": "a"}, train_where={"style": "b"},
                      label="thing", neighbours=(1, 30))  # fmt: skip
    assert report.metrics["top1, k = 1"].value > 0.9 and report.num_rows == 6
    assert report.notes == ["k = 30: all 6 rows to learn from vote, there are no more"]


HEADS = typing.get_args(HeadName)


def test_few_shots_with_each_head(things: str) -> None:
    report = evaluate("few_shot", source=things, train_source=things, where={"style": "a"}, label="thing",
                      shots=(1, 4), heads=HEADS, draws=1)  # fmt: skip
    assert set(report.metrics) == {f"{head} {k}-shot" for head in HEADS
                                   for k in (1, 4)}  # fmt: skip
    assert all(metric.value > 0.6 for metric in report.metrics.values())
    assert report.metrics["tip_adapter 1-shot"].controls["zero_shot"] > 0.6
    assert report.facts["fewest_shots_of_a_class"] == {1: 1, 4: 3}
    assert report.notes == ["4-shot: a class has 3 rows to draw from"]


def test_a_probe_without_anything_to_learn_from_is_refused(things: str) -> None:
    with pytest.raises(ConfigError, match="no rows to learn from"):
        evaluate("linear_probe", source=things, label="thing")


def test_average_precision_of_several_labels(labelled: str) -> None:
    report = evaluate("multi_label", source=labelled, modality="image")
    metric = report.metrics["mAP"]
    assert 0.5 < metric.value < 1 and metric.controls["constant"] == pytest.approx(metric.chance)
    assert report.facts["classes"] == 8 and report.facts["labels_per_row"] == 2


def test_a_hierarchy_is_right_at_the_top_when_it_is_right_below(labelled: str) -> None:
    report = evaluate("hierarchical", source=labelled, levels=("leaf", "branch"), noise=1.0)
    leaf, branch = (report.metrics[f"top1 {level}"].value for level in ("leaf", "branch"))
    assert leaf <= branch and report.metrics["distance"].value == pytest.approx((1 - leaf) + (1 - branch))
    assert report.metrics["top1 leaf"].controls["text_length"] == 0  # "thing 0" to "thing 3" are equally long
    assert report.metrics["top1 leaf"].controls["shuffled"] < leaf
    assert report.metrics["distance"].controls["constant"] == 1.25  # one class for all: 1/4 right, 1/4 beside it


def test_classes_without_rows_stay_in_the_pool_and_are_named(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"thing {number}").mkdir()
        (tmp_path / f"thing {number}/one.png").write_bytes(picture(number, 0))
    (tmp_path / "thing 9").mkdir()
    report = evaluate("zero_shot", source=f"folder:{tmp_path}", label="label", top=(1, 5))
    assert report.num_rows == 2 and report.facts["classes"] == 3 and report.facts["classes_without_rows"] == 1
    assert report.notes == [
        "k = 5 is above the 3 classes: every query counts as found",
        "classes without a row, 1 of 3: thing 9",
    ]
