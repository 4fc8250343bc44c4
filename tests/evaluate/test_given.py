"""Embeddings and scores of other programs: the numbers of the evaluators, and clear words about what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from mmcontrast.cli import main
from mmcontrast.config import parse
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.suite import Suite, run_suite
from tests.evaluate.fakes import FakeEncoder, make_sequences, make_things

CLASSES, EACH, DIM = 6, 4, 16


def vectors(rows: int, *, seed: int, dim: int = DIM) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def evaluate(out: Path, *arguments: str) -> dict[str, Any]:
    """Run ``mmcontrast eval ...``; the evaluators of its result."""
    assert main(["eval", *arguments, "--out", str(out)]) == 0
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    tree = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert tree["schema"] == "mmcontrast.eval/1" and tree["about"]["data"]["given"]["rows"] > 0
    found: dict[str, Any] = tree["evaluators"]
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that must be refused."""
    capsys.readouterr()
    assert main(["eval", *arguments]) == 2
    return capsys.readouterr().err


def test_the_numbers_are_those_of_the_model_that_made_the_embeddings(tmp_path: Path) -> None:
    """All evaluators with pure metrics, on a fake model's embeddings and on the model itself."""
    things = make_things(tmp_path / "things", things=8)
    evals: dict[str, Any] = {
        "zero_shot": {"source": things, "label": "thing"},
        "hierarchical": {"source": things, "levels": ["thing", "family"]},
        "retrieval": {"source": things, "query": "text", "target": "image", "match": "thing"},
        "linear_probe": {"source": things, "label": "thing", "fold": "style", "modality": "image"},
        "few_shot": {"source": things, "train_source": things, "label": "thing", "shots": [1], "draws": 1,
                     "heads": ["logistic"], "modality": "image"},
        "knn": {"source": things, "train_source": things, "label": "thing", "where": {"style": "dark"},
                "train_where": {"style": "plain"}, "neighbours": [1]},
        "modality_gap": {"source": things, "modalities": ["image", "text"]},
    }  # fmt: skip
    suite = parse(Suite, {"evals": {name: {"type": name, **fields} for name, fields in evals.items()}})
    encoder = FakeEncoder(noise=1.5)
    expected = run_suite("fake", suite, encoder).reports
    bench = Bench(encoder)
    rows, z = bench.media(things, {}, "image")
    lines = [{"key": item.key, **item.info} for item in rows.items]
    texts = sorted({info[field] for info in lines for field in ("thing", "family")})
    save_file({"image": z["trained"].contiguous()}, tmp_path / "pictures.safetensors")
    np.save(tmp_path / "text.npy", bench.texts(texts)["trained"].numpy())
    for name, each in (("pictures", lines), ("text", [{"text": text, "class": "thing" in text} for text in texts])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in each), encoding="utf-8")
    files = [str(tmp_path / "pictures.safetensors"), str(tmp_path / "text.npy")]
    asked: list[str] = []
    for name, fields in evals.items():
        words = [f"{key}={json.dumps(value)}" for key, value in fields.items() if not key.endswith("source")]
        asked += ["--evaluator", name, *words]
    found = evaluate(tmp_path / "out", "from-embeddings", *files, "--train", files[0], *asked)
    for name, report in expected.items():
        for metric, value in report.metrics.items():
            assert found[name]["metrics"][metric]["value"] == pytest.approx(value.value, abs=1e-6), (name, metric)
            assert found[name]["metrics"][metric]["low"] == pytest.approx(value.low, abs=1e-6)
    assert "bag_of_words" not in found["retrieval"]["metrics"]["R@1"]["controls"]  # no text but the given ones


def test_classes_and_labels_are_numbers_where_nothing_names_them(tmp_path: Path) -> None:
    """Scores and embeddings give what plain torch gives."""
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    texts, images = normalize(vectors(CLASSES + 1, seed=0), dim=1), vectors(CLASSES * EACH, seed=1)
    images = normalize(images + 0.5 * texts[labels], dim=1)
    scores = images @ texts.T  # one class more than any row has
    expected = float((scores.argmax(1) == labels).float().mean())
    assert 0.2 < expected < 1
    save_file({"image": images, "label": labels}, tmp_path / "images.safetensors")
    np.save(tmp_path / "words.npy", texts.numpy())
    save_file({"scores": scores, "label": labels}, tmp_path / "scores.safetensors")
    kind = ("--evaluator", "zero_shot", "label=label", "top=[1, 5]")
    given = str(tmp_path / "images.safetensors"), f"text={tmp_path / 'words.npy'}"
    for found in (
        evaluate(tmp_path / "a", "from-embeddings", *given, *kind),
        evaluate(tmp_path / "b", "from-scores", str(tmp_path / "scores.safetensors"), *kind),
    ):
        metric = found["zero_shot"]["metrics"]["top1"]
        assert metric["value"] == pytest.approx(expected) and metric["chance"] == pytest.approx(1 / (CLASSES + 1))
        assert metric["controls"]["constant"] == pytest.approx(1 / CLASSES, abs=1e-6)


def test_retrieval_with_several_captions_a_picture_both_ways(tmp_path: Path) -> None:
    """The field ``of`` says which picture a caption is of; recalls equal a plain loop's."""
    pictures, owner = 7, torch.arange(7).repeat_interleave(3)
    images = normalize(vectors(pictures, seed=2), dim=1)
    texts = normalize(images[owner] + 0.4 * vectors(len(owner), seed=3), dim=1)
    scores = images @ texts.T
    to_text = float((owner[scores.argmax(1)] == torch.arange(pictures)).float().mean())
    to_image = float((scores.argmax(0) == owner).float().mean())
    save_file({"image": images}, tmp_path / "images.safetensors")
    save_file({"text": texts, "of": owner}, tmp_path / "texts.safetensors")
    np.save(tmp_path / "scores.npy", scores.numpy())
    (tmp_path / "scores.columns.csv").write_text("of\n" + "\n".join(map(str, owner.tolist())), encoding="utf-8")
    both = [word for query, target in (("text", "image"), ("image", "text"))
            for word in ("--evaluator", "retrieval", f"query={query}", f"target={target}", "match=key")]  # fmt: skip
    files = [str(tmp_path / f"{name}.safetensors") for name in ("images", "texts")]
    for found in (
        evaluate(tmp_path / "a", "from-embeddings", *files, *both),
        evaluate(tmp_path / "b", "from-scores", str(tmp_path / "scores.npy"), *both),
    ):
        assert found["retrieval"]["metrics"]["R@1"]["value"] == pytest.approx(to_image)
        assert found["retrieval_2"]["metrics"]["R@1"]["value"] == pytest.approx(to_text)
        assert found["retrieval"]["num_rows"] == len(owner)


def test_several_labels_and_orders_from_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    labels = [["1", "2"], ["0"], ["2"], ["0", "1"]]
    scores = [[0.1, 0.9, 0.8], [0.7, 0.2, 0.1], [0.3, 0.2, 0.9], [0.9, 0.8, 0.1]]
    table = pyarrow.table({"scores": scores, "labels": labels})
    parquet.write_table(table, tmp_path / "labels.parquet")
    kind = ("--evaluator", "multi_label", "--rows", "audio")
    found = evaluate(tmp_path / "a", "from-scores", str(tmp_path / "labels.parquet"), *kind)
    assert found["multi_label"]["metrics"]["mAP"]["value"] == pytest.approx(1.0)
    # A model that always prefers a caption of its own: clip k belongs to caption k.
    rows = pyarrow.table({"scores": [[0.9, 0.1], [0.8, 0.2]], "pair": ["x", "x"], "caption": ["a b", "b a"]})
    parquet.write_table(rows, tmp_path / "order.parquet")
    (tmp_path / "order.columns.jsonl").write_text('{"text": "a b"}\n{"text": "b a"}\n', encoding="utf-8")
    found = evaluate(tmp_path / "b", "from-scores", str(tmp_path / "order.parquet"), "--rows", "audio",
                     "--evaluator", "order")  # fmt: skip
    metrics = {name: metric["value"] for name, metric in found["order"]["metrics"].items()}
    assert metrics == {"group": 0.0, "text": 0.0, "audio": 1.0, "two_way": 0.5}


@pytest.mark.parametrize(
    ("arrays", "arguments", "words"),
    [
        ({"image": (4, 8), "text": (4, 9)}, (), "embeddings of one space have one width"),
        ({"image": (4, 8), "audio": (5, 8)}, (), "image: 4 rows.* audio: 5 rows|4 rows; .*5 rows"),
        ({"image": (4, 8, 2)}, (), "holds no array of|expected rows x columns"),
        ({"image": (4, 8), "nan": 3}, (), r"1 of 4 rows hold NaN or infinities, the first is row 3"),
        ({"image": (4, 8), "zero": 2}, (), r"row 2 \(counted from 0\) is all zeros"),
        ({"image": (4, 8), "text": (3, 8)}, ("label=lable",), "has no field 'lable'. Did you mean 'label'"),
        ({"image": (4, 8), "text": (2, 8), "label": 4}, (), "'2' is not among its 2 classes"),
        ({"image": (4, 8), "label": 4}, (), "skipped|has no text"),
        ({"text": (4, 8)}, (), "no embeddings of pictures or sounds"),
    ],
)
def test_what_does_not_fit_is_named(
    arrays: dict[str, Any], arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for number, (name, shape) in enumerate((n, s) for n, s in arrays.items() if isinstance(s, tuple)):
        values = torch.randn(*shape, generator=torch.Generator().manual_seed(number))
        if name == "image" and "nan" in arrays:
            values[arrays["nan"], 1] = float("nan")
        if name == "image" and "zero" in arrays:
            values[arrays["zero"]] = 0
        tensors = {name: values}
        if name == "image":
            tensors["label"] = torch.arange(shape[0])
        save_file(tensors, tmp_path / f"{number}.safetensors")
        files.append(str(tmp_path / f"{number}.safetensors"))
    said = refused(capsys, "from-embeddings", *files, "--evaluator", "zero_shot", *(arguments or ("label=label",)))
    assert re.search(words, said) and "Traceback" not in said


def test_missing_labels_and_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"scores": vectors(3, seed=0, dim=2)}, tmp_path / "s.safetensors")
    (tmp_path / "s.jsonl").write_text('{"label": "0"}\n{"label": null}\n{"label": "1"}\n', encoding="utf-8")
    file, kind = str(tmp_path / "s.safetensors"), ("--evaluator", "zero_shot", "label=label")
    assert "row '1' has no field 'label'" in refused(capsys, "from-scores", file, *kind)
    (tmp_path / "s.jsonl").write_text('{"label": "0"}\n', encoding="utf-8")
    assert "3 rows, but the file of fields beside" in refused(capsys, "from-scores", file, *kind)
    assert "no file" in refused(capsys, "from-scores", str(tmp_path / "gone.npy"), *kind)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "is no array of numbers" in refused(capsys, "from-scores", str(tmp_path / "objects.npy"), *kind)
    (tmp_path / "s.jsonl").unlink()
    said = refused(capsys, "from-scores", file, "--evaluator", "knn", "label=label")
    assert "needs embeddings, not scores" in said


def test_a_key_or_a_text_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"image": vectors(2, seed=0), "key": torch.zeros(2, dtype=torch.long)}, tmp_path / "i.safetensors")
    save_file({"text": vectors(2, seed=1)}, tmp_path / "t.safetensors")
    files, kind = [str(tmp_path / "i.safetensors"), str(tmp_path / "t.safetensors")], ("--evaluator", "zero_shot")
    assert "the key '0' is there twice" in refused(capsys, "from-embeddings", *files, *kind)
    save_file({"image": vectors(2, seed=0)}, tmp_path / "i.safetensors")
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": "a"}\n', encoding="utf-8")
    assert "'a' is there twice, as rows 0 and 1 that differ" in refused(capsys, "from-embeddings", *files, *kind)


def test_orders_of_embeddings_need_no_bags(tmp_path: Path) -> None:
    """A fake model that hears which tones sound but not in which order stays at nothing, as it does by itself."""
    sequences = make_sequences(tmp_path / "sequences", tones_used=4)
    bench = Bench(FakeEncoder(kind="bag"))
    rows, z = bench.media(sequences, {}, "audio")
    lines = "".join(json.dumps(item.info) + "\n" for item in rows.items)
    for name, points in (("audio", z["trained"]), ("text", bench.texts(rows.field("caption"))["trained"])):
        np.save(tmp_path / f"{name}.npy", points.numpy())
    (tmp_path / "audio.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "text.jsonl").write_text(lines.replace('"caption"', '"text"'), encoding="utf-8")
    files = [str(tmp_path / "audio.npy"), str(tmp_path / "text.npy")]
    found = evaluate(tmp_path / "out", "from-embeddings", *files, "--evaluator", "order")
    assert found["order"]["metrics"]["group"]["value"] == 0
