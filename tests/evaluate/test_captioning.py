"""Captions of a file and captions of a bank, scored against the references of a set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.captioning import Captioning
from tests.evaluate.fakes import FakeEncoder, make_things


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_things(tmp_path_factory.mktemp("sets") / "things", things=6, styles=("plain",))


def evaluate(data: Path | None = None, **fields: Any) -> Report:
    bench = Bench(FakeEncoder(noise=0.2), FakeEncoder(noise=1, kind="random"), data=data)
    return Captioning(parse(Captioning.Config, fields)).run(bench)


def test_captions_of_a_file_are_scored_without_an_encoder(things: str, tmp_path: Path) -> None:
    rows = [{"image_id": f"plain-{number:03d}", "caption": f"Thing {number}."} for number in range(5)]
    rows.append({"image_id": "stranger", "caption": "a stranger"})
    (tmp_path / "captions.json").write_text(json.dumps(rows), encoding="utf-8")
    config = parse(Captioning.Config, {"source": things, "predictions": "captions.json"})
    assert Captioning.modalities(config) == ()
    report = evaluate(tmp_path, source=things, predictions="captions.json")
    assert report.metrics["ROUGE-L"].value == 1 and report.num_rows == 5
    assert report.metrics["CIDEr"].controls["shuffled"] < report.metrics["CIDEr"].value
    assert report.metrics["BLEU-4"].value == 0  # captions of two words hold no run of four
    assert (
        len(report.missing) == 2 and "plain-005: no caption" in report.missing[0] and "stranger" in report.missing[1]
    )
    assert "METEOR and SPICE" in report.facts["not_computed"]


def test_captions_can_be_retrieved_from_a_bank(things: str) -> None:
    report = evaluate(source=things, bank=things, modality="image")
    metric = report.metrics["ROUGE-L"]
    assert metric.value == 1 and metric.controls["untrained"] < 0.9 and metric.controls["constant"] < 0.9
    assert report.modalities == ("image", "text") and report.facts["references_per_row"] == 1


@pytest.mark.parametrize(
    ("content", "words", "kind"),
    [
        ([{"image_id": 1}], "entry 0: expected image_id and caption", ConfigError),
        ([{"image_id": 1, "caption": "x"}] * 2, "two captions of '1'", ConfigError),
        ([{"image_id": 1, "caption": "x"}], "no caption of a row: image_id '1', row 'plain-000'", MissingData),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    content: Any, words: str, kind: type[Exception], things: str, tmp_path: Path
) -> None:
    (tmp_path / "captions.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(kind, match=words):
        evaluate(tmp_path, source=things, predictions="captions.json")


def test_one_origin_of_captions_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="give predictions"):
        parse(Captioning.Config, {"source": "x"})
