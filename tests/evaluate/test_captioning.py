"""Captions of a file and captions of a bank, scored against the references of a set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError, MissingData, NeedsError, NoDecoder
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.captioning import Captioning
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.evaluate.writing import captions
from mmcontrast.model import Model, ModelConfig
from mmcontrast.objectives import OBJECTIVES
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


@pytest.mark.parametrize("fields", [{}, {"bank": "x", "decoder": "y"}])
def test_one_origin_of_captions_is_asked_for(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="give predictions"):
        parse(Captioning.Config, {"source": "x", **fields})


def encoder_with_a_decoder(*, tokenizer: str = "open_clip", vocabulary: int = 49408) -> TowerEncoder:
    """Towers and a decoder with random weights."""
    config = parse(
        ModelConfig,
        {"dim": 8, "towers": {"image": {"type": "small_resnet", "size": 16, "widths": [8], "blocks": [1], "groups": 4},
                              "text": {"type": "text_transformer", "width": 16, "layers": 1, "heads": 2, "buckets": 64,
                                       "tokenizer": {"type": tokenizer}}}},
    )  # fmt: skip
    torch.manual_seed(0)
    fields = {"type": "coca", "vocabulary": vocabulary, "width": 8, "heads": 2, "layers": 1, "longest": 6}
    return TowerEncoder(Model(config, {"caption": OBJECTIVES.build(parse_objective(fields))}))


def parse_objective(fields: dict[str, Any]) -> Any:
    kind = OBJECTIVES.get(fields.pop("type"))
    return parse(kind.Config, fields)


def test_a_decoder_writes_the_captions_alone_as_among_others(things: str) -> None:
    encoder = encoder_with_a_decoder()
    config = parse(Captioning.Config, {"source": things, "decoder": "caption", "beams": 2, "longest": 4})
    report = Captioning(config).run(Bench(encoder))
    assert report.num_rows == 6 and report.facts["captions"].startswith("written by the decoder 'caption', 2 beams")
    assert [example.query.kind for example in report.gallery] == ["image"] * 6
    rows = Bench(encoder).rows(things, {})
    pictures = [rows.decode(item, "image", sample_rate_hz=None) for item in rows.items]
    said = [example.answers[0].caption for example in report.gallery]
    assert set(said) != {"(nothing)"}
    for picture, caption in zip(pictures, said, strict=True):
        (alone,) = captions(encoder, "image", [picture], decoder="caption", beams=2, longest=4)
        assert (alone or "(nothing)") == caption


@pytest.mark.parametrize(
    ("made", "decoder", "words", "kind"),
    [
        ({}, "captoin", "no decoder 'captoin'.* its decoders: caption", NoDecoder),
        ({"vocabulary": 100}, "caption", "knows 100 tokens, its tokenizer 49,408.*vocabulary=49408", ConfigError),
        ({"tokenizer": "hashed_words"}, "caption", "cannot be read back as words", NeedsError),
    ],
)
def test_what_cannot_write_is_named(
    made: dict[str, Any], decoder: str, words: str, kind: type[Exception], things: str
) -> None:
    bench = Bench(encoder_with_a_decoder(**made))
    with pytest.raises(kind, match=words):
        Captioning(parse(Captioning.Config, {"source": things, "decoder": decoder})).run(bench)
    with pytest.raises(NoDecoder, match="it has none"):
        evaluate(source=things, decoder=decoder)
