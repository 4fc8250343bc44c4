"""The files that people download, in small: right rows, right names, and clear words when they are not there."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError, MissingData, MMContrastError
from mmcontrast.evaluate.bench import Rows
from mmcontrast.evaluate.collection import Collection, located, open_collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.gtzan import fault_filtered
from tests.evaluate.choice_cases import CHOICE_CASES
from tests.evaluate.fakes import picture, tones
from tests.evaluate.published import put
from tests.evaluate.reader_cases import (
    CASES,
    esc50,
    gtzan,
    karpathy,
    medmnist,
    multi_label_wds,
    retrieval_wds,
    senteval,
    torchvision_digits,
)

ALL = CASES | CHOICE_CASES


def read(kind: str, root: Path, **fields: Any) -> Collection:
    cls = READERS.get(kind)
    return cls(cls.Config(root=root, **fields)).read()


@pytest.mark.parametrize("kind", sorted(ALL))
def test_a_set_reads_as_it_is_published(kind: str, tmp_path: Path) -> None:
    make, rows, classes, first = ALL[kind]
    make(tmp_path / "set")
    found = open_collection(f"{kind}:{tmp_path / 'set'}")
    assert len(found) == rows and found.classes == classes
    assert first.items() <= found.info(0).items()
    for modality in found.modalities:
        for position in range(rows):
            assert found.content(position, modality) and found.extension(position, modality)
    assert len({found.key(position) for position in range(rows)}) == rows
    assert len(found.facts()["manifest_sha256"]) == 64 and found.facts()["rows"] == rows


def test_every_reader_is_tried() -> None:
    assert set(READERS.names()) == {*ALL, "gtzan", "medmnist", "torchvision_set", "table"}


def test_what_is_not_there_comes_with_the_place_where_it_is_published(tmp_path: Path) -> None:
    published = json.loads(resolve("package:published.json").read_text(encoding="utf-8"))
    assert sorted(published) == READERS.names()
    with pytest.raises(MissingData, match=r"ESC-50: expected .* ESC-50 is at https://github.com/karolpiczak/ESC-50\."):
        open_collection(f"esc50:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("kind", sorted({*ALL, "gtzan", "medmnist", "torchvision_set"}))
def test_files_that_are_not_there_are_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nowhere"):
        open_collection(f"{kind}:{tmp_path / 'nowhere'}")


def test_rows_whose_file_is_gone_are_counted(tmp_path: Path) -> None:
    esc50(tmp_path)
    (tmp_path / "audio" / "2-1-A-0.wav").unlink()
    rows = Rows(f"esc50:{tmp_path}", {})
    assert len(rows.items) == 2  # still rows: whoever decodes them names them
    with pytest.raises(MMContrastError, match="2-1-A-0.wav"):
        rows.decode(rows.items[1], "audio", sample_rate_hz=8000)


def test_multi_label_and_retrieval_sets_of_clip_benchmark(tmp_path: Path) -> None:
    multi_label_wds(tmp_path / "many")
    many = read("clip_benchmark", tmp_path / "many")
    assert [many.info(number)["labels"] for number in range(2)] == [["cat", "hat"], []]
    retrieval_wds(tmp_path / "pairs")
    assert read("clip_benchmark", tmp_path / "pairs").info(0)["captions"] == ["one", "two"]


def test_single_objects_of_cola_in_both_forms_and_damaged(tmp_path: Path) -> None:
    path = tmp_path / "COLA_singleobjects_benchmark_PACO.json"
    row = ["a.jpg", [1, 0], [0, 1]]  # PACO's rows have no annotation
    for stored in ([["cup", "hat"], [row]], {"labels": ["cup", "hat"], "data": [row]}):
        put(path, json.dumps(stored))
        found = read("cola_single", tmp_path, part="PACO")
        assert found.info(0) == {"file": "a.jpg", "labels": ["cup"], "hard": ["hat"]}
    put(path, json.dumps([["cup", "hat"], [["a.jpg", [1], [0, 1]]]]))
    with pytest.raises(ConfigError, match="item 0: expected 0 or 1 for each of the 2 classes"):
        read("cola_single", tmp_path, part="PACO")
    put(path, json.dumps([["cup", "cup"], []]))
    with pytest.raises(ConfigError, match="each once"):
        read("cola_single", tmp_path, part="PACO")


def test_genres_digits_and_medical_pictures(tmp_path: Path) -> None:
    gtzan(tmp_path / "gtzan")
    genres = read("gtzan", tmp_path / "gtzan")
    assert len(genres.classes) == 10 and genres.info(0)["label"] == "hip-hop"
    splits = fault_filtered()
    assert genres.info(0)["split"] == splits.get("hiphop.00000", "left out")
    assert len(splits) == 930 and set(splits.values()) == {"train", "validation", "test"}
    torchvision_digits(tmp_path / "digits")
    digits = read("torchvision_set", tmp_path / "digits", name="MNIST")
    assert digits.info(0)["label"] == "seven" and Image.open(io.BytesIO(digits.content(0, "image"))).size == (2, 2)
    medmnist(tmp_path / "small.npz")
    medical = read("medmnist", tmp_path / "small.npz")
    assert medical.classes == ("0", "1", "2") and medical.info(0) == {"label": "1"}


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, test_images=np.array([{}], dtype=object), test_labels=np.zeros((1, 1)))
    with pytest.raises(ConfigError, match="without pickles"):
        read("medmnist", path)


def test_imagenet_takes_its_names_from_open_clip(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"n{number:08d}").mkdir()
    put(tmp_path / "n00000000" / "x.JPEG", picture(1))
    found = read("folder", tmp_path, names="open_clip:imagenet")
    assert len(found.classes) == 998 and found.info(0)["label"] == "tench"
    with pytest.raises(ConfigError, match="1000 names for 1 classes"):
        one = tmp_path / "one"
        put(one / "n0" / "x.png", picture(1))
        read("folder", one, names="open_clip:imagenet")


def test_a_set_of_ones_own_is_one_yaml(tmp_path: Path) -> None:
    put(tmp_path / "clips" / "a.wav", tones(1))
    put(tmp_path / "list.csv", "file,kind,said,words\na.wav,d,one|two,x\n,c,three,y\n")
    put(tmp_path / "names.json", json.dumps({"d": "dog", "c": "cat"}))
    text = f"""
    type: table
    file: list.csv
    root: .
    media: {{audio: file}}
    lists: {{said: "|"}}
    label: kind
    names: {tmp_path / "names.json"}
    """
    put(tmp_path / "mine.yaml", text)
    put(tmp_path / "a.wav", tones(1))
    found = open_collection(str(tmp_path / "mine.yaml"))
    assert found.classes == ("cat", "dog")
    assert found.info(0) == {"file": "a.wav", "kind": "d", "said": ["one", "two"], "words": "x", "label": "dog"}
    assert found.content(0, "audio")
    with pytest.raises(MMContrastError, match="no audio"):
        found.content(1, "audio")


def test_tasks_of_senteval_have_splits_or_folds(tmp_path: Path) -> None:
    senteval(tmp_path)
    assert [read("senteval", tmp_path, task="TREC").info(row) for row in (0, 1)] == [
        {"text": "How did it start ?", "label": "DESC", "split": "train"},
        {"text": "How far : is it ?", "label": "NUM", "split": "test"},
    ]
    assert read("senteval", tmp_path, task="SST2").info(1) == {
        "text": "so so dev",
        "label": "negative",
        "split": "dev",
    }
    shift = read("senteval", tmp_path / "probing", task="BigramShift")
    assert shift.info(1) == {"text": "Two one .", "label": "I", "split": "test"} and len(shift) == 2
    assert 0 <= int(read("senteval", tmp_path).info(0)["fold"]) < 10
    with pytest.raises(ValueError, match="Did you mean 'BigramShift'"):
        read("senteval", tmp_path, task="BigramShfit")
    put(tmp_path / "downstream" / "TREC" / "TREC_10.label", "how far\n")
    with pytest.raises(ConfigError, match="line 1: expected CLASS:kind"):
        read("senteval", tmp_path, task="TREC")


def test_the_authors_file_of_sick_holds_all_splits(tmp_path: Path) -> None:
    head = "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tentailment_AB\tSemEval_set"
    rows = ["1\ta\tb\tNEUTRAL\t4.5\tx\tTRAIN", "2\tc\td\tENTAILMENT\t1\tx\tTEST"]
    put(tmp_path / "SICK.txt", "\n".join([head, *rows]))
    found = read("sick", tmp_path)
    assert len(found) == 1 and found.info(0) == {
        "sentence1": "c", "sentence2": "d", "score": 1.0, "entailment": "ENTAILMENT",
    }  # fmt: skip


def test_a_parquet_table_is_read_by_its_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.5, 5.0], "many": [["x"], []]})
    parquet.write_table(table, tmp_path / "test.parquet")
    found = read("table", tmp_path, file="test.parquet")
    assert found.info(1) == {"sentence1": "b", "sentence2": "d", "score": 5.0, "many": []}
    with pytest.raises(ConfigError, match="no column label; it has: sentence1"):
        read("table", tmp_path, file="test.parquet", label="label")
    put(tmp_path / "bad.parquet", "PAR1")
    with pytest.raises(ConfigError, match="is no parquet table"):
        read("table", tmp_path, file="bad.parquet")


def test_quotation_marks_can_be_text(tmp_path: Path) -> None:
    put(tmp_path / "dev.tsv", 'index\tsentence1\n0\t"We did\n1\tit" they said\n')
    found = read("table", tmp_path, file="dev.tsv", quotes=False)
    assert [found.info(row)["sentence1"] for row in (0, 1)] == ['"We did', 'it" they said']


@pytest.mark.parametrize(
    ("table", "fields", "words"),
    [
        ("a,b\n1\n", {"key": "b"}, "line 2: fewer cells than columns"),
        ("a,b\n1,2\n", {"key": "c"}, "no column c; it has: a, b"),
        ("a,b\n1,2\n1,3\n", {"key": "a"}, "two rows with the key '1'"),
        ("a\n../../etc/passwd\n", {"media": {"image": "a"}}, "leads out of"),
        ("a\n", {}, "has no rows"),
    ],
)
def test_a_bad_table_is_named(table: str, fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    put(tmp_path / "list.csv", table)
    with pytest.raises(MMContrastError, match=words):
        read("table", tmp_path, file="list.csv", **fields)


def test_the_wrong_split_and_broken_json_are_named(tmp_path: Path) -> None:
    karpathy(tmp_path)
    with pytest.raises(ConfigError, match="no split 'tset'. It has: restval, test"):
        read("karpathy", tmp_path, split="tset")
    put(tmp_path / "dataset_coco.json", "{")
    with pytest.raises(ConfigError, match="is not JSON"):
        read("karpathy", tmp_path)


def test_another_list_of_rows_has_another_digest(tmp_path: Path) -> None:
    esc50(tmp_path)
    before = read("esc50", tmp_path).facts()["manifest_sha256"]
    assert read("esc50", tmp_path).facts()["manifest_sha256"] == before
    put(tmp_path / "audio" / "2-1-A-0.wav", tones(1, 2))
    assert read("esc50", tmp_path).facts()["manifest_sha256"] != before


def test_sources_are_meant_from_the_data_folder(tmp_path: Path) -> None:
    assert located("esc50:ESC-50-master", tmp_path) == f"esc50:{tmp_path}/ESC-50-master"
    assert located("esc50:/x", tmp_path) == "esc50:/x" and located("/x", tmp_path) == "/x"
    assert located("mine.yaml", tmp_path) == f"{tmp_path}/mine.yaml"
    assert located("package:quickstart/effects-test", tmp_path) == "package:quickstart/effects-test"
    with pytest.raises(ConfigError, match="Did you mean 'esc50'"):
        open_collection("esc5:/x")
