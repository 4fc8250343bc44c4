"""Every layout of raw data that pack reads, with real pictures and sounds in files of the published shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipelines.jobs.pack import unique_key
from data_pipelines.readers import READERS
from data_pipelines.readers.base import files_under
from data_pipelines.rows import Row
from mmcontrast.data.indexing import index_set
from mmcontrast.data.manifest import read_manifest
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import ConfigError
from tests.data_pipelines.conftest import EMOJI, TRIMODAL, dropped_of, rows_of

Run = Callable[..., str]


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [row.members["webp"] for row in rows_of(EMOJI)[:4]]


@pytest.fixture(scope="module")
def sounds() -> list[bytes]:
    return [row.members["ogg"] for row in rows_of(TRIMODAL)[:4]]


def place(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return folder


def packed(data: Run, tmp_path: Path, **reader: Any) -> list[Row]:
    data("run", "pack", f"out={tmp_path}/set", f"reader={json.dumps(reader)}")
    assert ShardSet(tmp_path / "set").index.has_crc32  # the loader's own reading of the same shards
    return rows_of(tmp_path / "set")


def test_folders_give_captions_from_names_and_parents(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    raw = place(
        tmp_path / "raw", {"bell/red_bell.webp": pictures[0], "bell/b.webp": pictures[1], "cat/a.webp": pictures[2]}
    )
    rows = packed(data, tmp_path, type="folder", folder=str(raw), captions="folder", licence="MIT", origin="me 1.0")
    assert [(row.key, row.info()["captions"], row.info()["label"]) for row in rows] == [
        ("bell-b", ["bell"], "bell"),
        ("bell-red_bell", ["bell"], "bell"),
        ("cat-a", ["cat"], "cat"),
    ]
    assert {(row.info()["licence"], row.info()["source"]) for row in rows} == {("MIT", "me 1.0")}
    assert read_manifest(tmp_path / "set").licences == {"MIT": 3}
    rows = packed(data, tmp_path / "named", type="folder", folder=str(raw), captions="name")
    assert [row.info()["captions"] for row in rows] == [["b"], ["red bell"], ["a"]]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_tables_of_every_type_give_the_same_rows(
    suffix: str, tmp_path: Path, data: Run, pictures: list[bytes]
) -> None:
    place(tmp_path / "raw", {f"p/{number}.webp": pictures[number] for number in range(3)})
    table = [
        {
            "path": f"p/{number}.webp",
            "title": f'picture "{number}", with a comma',
            "part": "ab"[number % 2],
            "year": "1999",
        }
        for number in range(3)
    ]
    write_table(tmp_path / "raw" / f"list.{suffix}", table)
    rows = packed(
        data,
        tmp_path,
        type="table",
        file=f"{tmp_path}/raw/list.{suffix}",
        media={"image": "path"},
        captions=["title"],
        keep=["year"],
        where={"part": "a"},
    )
    assert [row.key for row in rows] == ["p-0", "p-2"]
    assert [row.info()["captions"] for row in rows] == [[table[0]["title"]], [table[2]["title"]]]
    assert [row.info()["year"] for row in rows] == ["1999", "1999"]
    assert [row.members["webp"] for row in rows] == [pictures[0], pictures[2]]


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import csv

        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


def test_karpathys_file_keeps_five_captions_and_its_splits(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    names = ["COCO_val2014_000000391895.webp", "COCO_val2014_000000522418.webp"]
    raw = place(tmp_path / "raw", {f"val2014/{name}": pictures[number] for number, name in enumerate(names)})
    images = [
        {
            "filepath": "val2014",
            "filename": name,
            "imgid": number,
            "cocoid": 391895 + number,
            "split": split,
            "sentids": [1, 2, 3, 4, 5],
            "sentences": [{"raw": f"caption {each} of {name}.", "tokens": [], "sentid": each} for each in range(5)],
        }
        for number, (name, split) in enumerate(zip(names, ["test", "restval"], strict=True))
    ]
    (raw / "dataset_coco.json").write_text(json.dumps({"dataset": "coco", "images": images}))
    file, root = str(raw / "dataset_coco.json"), str(raw)
    rows = packed(data, tmp_path, type="karpathy", file=file, images=root, split=["restval"])
    (row,) = rows
    assert row.key == "val2014-COCO_val2014_000000522418"
    assert row.info()["captions"] == [f"caption {each} of {names[1]}." for each in range(5)]
    assert (row.info()["cocoid"], row.info()["split"]) == (391896, "restval")


def test_the_listed_layout_joins_captions_of_one_picture(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    raw = place(tmp_path / "raw", {"a.webp": pictures[0], "b.webp": pictures[1]})
    training = [{"image": "a.webp", "caption": "one"}, {"image": "b.webp", "caption": ["x", "y"]}]
    training.append({"image": "a.webp", "caption": "two"})
    (raw / "train.json").write_text(json.dumps(training))
    rows = packed(data, tmp_path, type="karpathy", file=str(raw / "train.json"), images=str(raw))
    assert [row.info()["captions"] for row in rows] == [["one", "two"], ["x", "y"]]


def test_audiocaps_finds_clips_under_any_usual_name(tmp_path: Path, data: Run, sounds: list[bytes]) -> None:
    names = ["7fmOlUlwoNg.ogg", "Y6BJ455B1aAs.ogg", "GOD8Bt5LfDE_100.ogg", "-0_vEaaXndY_90000.ogg"]
    raw = place(tmp_path / "raw", dict(zip((f"clips/{name}" for name in names), sounds, strict=True)))
    lines = ["audiocap_id,youtube_id,start_time,caption"]
    starts = {"7fmOlUlwoNg": 20, "6BJ455B1aAs": 0, "GOD8Bt5LfDE": 100, "-0_vEaaXndY": 90, "gone0000000": 5}
    for number, (name, start) in enumerate(starts.items()):
        lines += [f'{number}{each},{name},{start},"Caption {each}, of {name}"' for each in range(2)]
    (raw / "test.csv").write_text("\n".join(lines) + "\n")
    rows = packed(data, tmp_path, type="audiocaps", file=str(raw / "test.csv"), audio=str(raw / "clips"))
    assert [row.info()["youtube_id"] for row in rows] == list(starts)[:4]
    assert rows[0].info()["captions"] == ["Caption 0, of 7fmOlUlwoNg", "Caption 1, of 7fmOlUlwoNg"]
    assert [row.members["ogg"] for row in rows] == sounds
    (missing,) = dropped_of(tmp_path / "set")
    assert missing["key"] == "gone0000000-5" and missing["reason"] == "audio file is missing or not readable"


def test_clotho_takes_licence_and_keywords_from_its_metadata(tmp_path: Path, data: Run, sounds: list[bytes]) -> None:
    raw = place(tmp_path / "raw", {"clips/Santa Motor.wav": sounds[0], "clips/Déjà vu.wav": sounds[1]})
    captions = ",".join(f"caption_{each}" for each in range(1, 6))
    (raw / "captions.csv").write_text(
        f'file_name,{captions}\nSanta Motor.wav,"A machine, whining",b,c,d,e\nDéjà vu.wav,a,b,c,d,e\n',
        encoding="utf-8",
    )
    metadata = "file_name,keywords,sound_id,sound_link,license\nDéjà vu.wav,rain;car,1,https://x.org/1,CC0\n"
    (raw / "metadata.csv").write_bytes(metadata.encode("cp1252"))
    files = {"file": str(raw / "captions.csv"), "metadata": str(raw / "metadata.csv")}
    rows = packed(data, tmp_path, type="clotho", audio=str(raw / "clips"), **files)
    assert [row.key for row in rows] == ["Santa-Motor", "D-j-vu"]
    assert rows[0].info()["captions"] == ["A machine, whining", "b", "c", "d", "e"]
    assert rows[1].info()["licence"] == "CC0" and rows[1].info()["keywords"] == "rain;car"


def test_esc50_keeps_folds_and_says_classes_in_words(tmp_path: Path, data: Run, sounds: list[bytes]) -> None:
    names = ["1-100032-A-0.wav", "2-100210-B-36.wav"]
    raw = place(tmp_path / "ESC-50-master", {f"audio/{name}": sounds[number] for number, name in enumerate(names)})
    header = "filename,fold,target,category,esc10,src_file,take\n"
    lines = f"{names[0]},1,0,dog,True,100032,A\n{names[1]},2,36,vacuum_cleaner,False,100210,B\n"
    place(raw, {"meta/esc50.csv": header + lines})
    template = "This is a sound of {label}."
    rows = packed(data, tmp_path, type="esc50", folder=str(raw), folds=[2], template=template)
    (row,) = rows
    assert row.info()["captions"] == ["This is a sound of vacuum cleaner."]
    assert (row.info()["label"], row.info()["fold"], row.info()["src_file"]) == ("vacuum cleaner", "2", "100210")


def test_laions_layout_reads_text_and_tags(tmp_path: Path, data: Run, sounds: list[bytes]) -> None:
    raw = place(
        tmp_path / "raw",
        {
            "0/1.ogg": sounds[0],
            "0/1.json": json.dumps(
                {"text": ["a bell", "bell rings"], "tag": ["bell"], "original_data": {"title": "x"}}
            ),
            "0/2.ogg": sounds[1],
            "0/2.json": "{broken",
            "0/3.ogg": sounds[2],
        },
    )
    rows = packed(data, tmp_path, type="laion", folder=str(raw), keep=["original_data"])
    (row,) = rows
    assert row.info()["captions"] == ["a bell", "bell rings"] and row.info()["tags"] == ["bell"]
    assert row.info()["original_data"] == {"title": "x"}
    assert [row["key"] for row in dropped_of(tmp_path / "set")] == ["0-2", "0-3"]


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_hugging_face_folders_give_media_from_inside_the_tables(
    kind: str, tmp_path: Path, data: Run, pictures: list[bytes]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": content, "path": None} for content in pictures[:3]] + [{"bytes": None, "path": None}]
    columns = {"image": cells, "text": [["a", "b"], ["c"], ["d"], ["e"]], "label": [3, 1, 4, 1]}
    table = pa.table(columns)
    folder = tmp_path / "raw" / "train"
    folder.mkdir(parents=True)
    if kind == "arrow":  # as datasets.save_to_disk lays it out
        with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
        (tmp_path / "raw" / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    else:
        pq.write_table(table, folder / "train-00000-of-00001.parquet", row_group_size=2)
    rows = packed(
        data,
        tmp_path,
        type="hf_datasets",
        folder=str(tmp_path / "raw"),
        split="train",
        media={"image": "image"},
        captions=["text"],
        keep=["label"],
    )
    assert [row.members["webp"] for row in rows] == pictures[:3]
    assert [row.info()["captions"] for row in rows] == [["a", "b"], ["c"], ["d"]]
    assert [row.info()["label"] for row in rows] == [3, 1, 4]
    assert len(dropped_of(tmp_path / "set")) == 1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "folder": ({"folder": "{tmp}/none"}, "no folder"),
    "table": ({"file": "{tmp}/t.csv", "media": {"image": "path"}}, "has no field 'path'; it has: a, b"),
    "karpathy": ({"file": "{tmp}/odd.json", "images": "{tmp}"}, "is not in Karpathy's layout: KeyError 'sentences'"),
    "coco": ({"file": "{tmp}/odd.json", "images": "{tmp}"}, "use reader.type=karpathy"),
    "audiocaps": ({"file": "{tmp}/t.csv", "audio": "{tmp}"}, "has no field 'audiocap_id'"),
    "clotho": ({"file": "{tmp}/t.csv", "audio": "{tmp}"}, "has no field 'file_name'"),
    "esc50": ({"folder": "{tmp}"}, "no file '{tmp}/meta/esc50.csv'"),
    "laion": ({"folder": "{tmp}"}, "no picture and no sound"),
    "hf_datasets": (
        {"folder": "{tmp}", "media": {"image": "image"}},
        "neither state.json of save_to_disk nor .parquet",
    ),
}


@pytest.mark.parametrize("name", READERS.names())
def test_every_reader_names_what_it_cannot_read(name: str, tmp_path: Path, data: Run) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "odd.json").write_text(json.dumps({"images": [{"filename": "a", "split": "test"}]}))
    fields, expected = WRONG[name]
    reader = json.loads(json.dumps({"type": name, **fields}).replace("{tmp}", str(tmp_path)))
    said = data("run", "pack", f"out={tmp_path}/set", f"reader={json.dumps(reader)}", code=2)
    assert expected.replace("{tmp}", str(tmp_path)) in said


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", "a,b\n1,2,3\n", "line 2: another number of fields"),
        ("t.csv", "a,b\n1\n", "line 2: another number of fields"),
        ("t.csv", 'a,b\n1,"2\n', "is not the .csv file that its name says: line 2"),
        ("t.jsonl", '{"a"\n', "line 1: no JSON"),
        ("t.jsonl", "[" * 100_000, "line 1: no JSON"),
        ("t.json", "[1, 2]", "line 1: a number, not a map of fields"),
        ("t.json", '{"data": []}', "holds a map; expected a list of maps"),
        ("t.parquet", "PAR1", "does not read as .parquet"),
        ("t.xlsx", "", "is no table that can be read"),
    ],
)
def test_damaged_tables_are_named(name: str, content: str, expected: str, tmp_path: Path, data: Run) -> None:
    (tmp_path / name).write_text(content)
    reader = json.dumps({"type": "table", "file": str(tmp_path / name), "captions": ["a"]})
    assert expected in data("run", "pack", f"out={tmp_path}/set", f"reader={reader}", code=2)


def test_a_bad_row_of_a_table_is_dropped_with_its_line(tmp_path: Path, data: Run) -> None:
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfa,b\n"two\nlines",x\n1,2,3\nlast,y\n' + b"z" * 300_000 + b",y\n")
    rows = packed(data, tmp_path, type="table", file=str(tmp_path / "t.csv"), captions=["a"])
    assert [row.info()["captions"] for row in rows] == [["two\nlines"], ["last"], ["z" * 300_000]]
    (dropped,) = dropped_of(tmp_path / "set")
    assert dropped["reason"] == "row does not read" and "line 4" in dropped["detail"]


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path, data: Run) -> None:
    (tmp_path / "t.csv").write_bytes("a\ncafé\n".encode("cp1252"))
    reader = {"type": "table", "file": str(tmp_path / "t.csv"), "captions": ["a"]}
    said = data("run", "pack", f"out={tmp_path}/set", f"reader={json.dumps(reader)}", code=2)
    assert "is not UTF-8" in said and "reader.encoding=cp1252" in said
    (row,) = packed(data, tmp_path, **reader, encoding="cp1252")
    assert row.info()["captions"] == ["café"]
    said = data("run", "pack", f"out={tmp_path}/b", f"reader={json.dumps(reader | {'encoding': 'utf-9'})}", code=2)
    assert "knows no encoding 'utf-9'" in said


@pytest.mark.parametrize("path", ["{tmp}/secret.webp", "../secret.webp", "p/../../secret.webp"])
def test_a_table_packs_no_file_from_outside_its_folder(
    path: str, tmp_path: Path, data: Run, pictures: list[bytes]
) -> None:
    place(tmp_path, {"secret.webp": pictures[0], "raw/p/a.webp": pictures[1]})
    named = path.replace("{tmp}", str(tmp_path))
    write_table(tmp_path / "raw/list.jsonl", [{"path": named, "title": "s"}, {"path": "./p//a.webp", "title": "a"}])
    reader = {
        "type": "table",
        "file": str(tmp_path / "raw/list.jsonl"),
        "media": {"image": "path"},
        "captions": ["title"],
    }
    assert [row.members["webp"] for row in packed(data, tmp_path, **reader)] == [pictures[1]]
    assert [row["reason"] for row in dropped_of(tmp_path / "set")] == ["path leaves its folder"]
    assert len(packed(data, tmp_path / "all", **reader, outside=True)) == 2


def test_published_lists_pack_no_file_from_outside_their_folder(
    tmp_path: Path, data: Run, pictures: list[bytes]
) -> None:
    place(tmp_path, {"secret.webp": pictures[0], "raw/a.webp": pictures[1]})
    entries = [{"image": "../secret.webp", "caption": "s"}, {"image": "a.webp", "caption": "a"}]
    (tmp_path / "raw/list.json").write_text(json.dumps(entries))
    rows = packed(data, tmp_path, type="karpathy", file=str(tmp_path / "raw/list.json"), images=str(tmp_path / "raw"))
    assert [row.info()["captions"] for row in rows] == [["a"]]


def test_paths_that_no_system_opens_are_dropped(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    place(tmp_path / "raw", {"a.webp": pictures[0]})
    table = [{"path": each, "title": "t"} for each in ("a\0.webp", "x" * 5000 + ".webp", "a.webp")]
    write_table(tmp_path / "raw/list.jsonl", table)
    file = str(tmp_path / "raw/list.jsonl")
    rows = packed(data, tmp_path, type="table", file=file, media={"image": "path"}, captions=["title"])
    assert len(rows) == 1 and len(dropped_of(tmp_path / "set")) == 2


def test_kept_fields_are_what_json_holds(tmp_path: Path, data: Run) -> None:
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    when = datetime.datetime(2024, 2, 29, 12)
    table = {"a": ["t"], "when": [when], "score": [float("nan")], "deep": [{"x": [float("inf")]}], "raw": [b"0"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    reader = {"type": "table", "file": str(tmp_path / "t.parquet"), "captions": ["a"]}
    (row,) = packed(data, tmp_path, **reader, keep=["when", "score", "deep"])
    info = row.info()
    assert (info["when"], info["score"], info["deep"]) == ("2024-02-29T12:00:00", None, {"x": [None]})
    said = data("run", "pack", f"out={tmp_path}/b", f"reader={json.dumps(reader | {'keep': ['raw']})}", code=2)
    assert "field 'raw' holds bytes" in said


def test_cocos_own_file_gives_captions_and_licences(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    place(tmp_path / "raw", {"val/1.webp": pictures[0], "val/2.webp": pictures[1]})
    tree = {
        "licenses": [{"id": 4, "name": "Attribution License"}],
        "images": [
            {"id": 1, "file_name": "1.webp", "license": 4},
            {"id": 2, "file_name": "2.webp"},
            {"id": 3, "file_name": "3.webp"},
        ],
        "annotations": [
            {"image_id": 2, "caption": "b"},
            {"image_id": 1, "caption": "a"},
            {"image_id": 1, "caption": "c"},
        ],
    }
    (tmp_path / "captions.json").write_text(json.dumps(tree))
    file, images = str(tmp_path / "captions.json"), str(tmp_path / "raw/val")
    rows = packed(data, tmp_path, type="coco", file=file, images=images)
    assert [(row.key, row.info()["captions"], row.info()["licence"]) for row in rows] == [
        ("1", ["a", "c"], "Attribution License"),
        ("2", ["b"], "unknown"),
    ]
    assert [row["key"] for row in dropped_of(tmp_path / "set")] == ["3"]
    reader = json.dumps({"type": "karpathy", "file": file, "images": images})
    assert "use reader.type=coco" in data("run", "pack", f"out={tmp_path}/b", f"reader={reader}", code=2)


def test_class_labels_of_hugging_face_are_said_by_name(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.table({"image": [{"bytes": each, "path": None} for each in pictures[:3]], "label": [1, 0, -1]})
    described = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "raw").mkdir()
    pq.write_table(described, tmp_path / "raw/train.parquet")
    reader = {"type": "hf_datasets", "folder": str(tmp_path / "raw"), "media": {"image": "image"}}
    rows = packed(data, tmp_path, **reader, captions=["label"], keep=["label"])
    assert [(row.info()["label"], row.info()["captions"]) for row in rows] == [("dog", ["dog"]), ("cat", ["cat"])]


def test_two_pictures_of_one_name_leave_the_second_named(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    raw = place(tmp_path / "raw", {"a.png": pictures[0], "a.webp": pictures[1], "b.webp": pictures[2]})
    rows = packed(data, tmp_path, type="folder", folder=str(raw), captions="name")
    assert [row.key for row in rows] == ["a", "b"]
    (dropped,) = dropped_of(tmp_path / "set")
    assert dropped["reason"] == "second image of one name" and "a.webp" in dropped["detail"]


def test_a_folder_that_cannot_be_listed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ConfigError, match=r"closed' cannot be read: Permission denied"):
        list(files_under(tmp_path))


def test_pack_writes_the_index_that_indexing_would(tmp_path: Path, data: Run, pictures: list[bytes]) -> None:
    raw = place(tmp_path / "raw", {f"{number}.webp": pictures[number % 3] for number in range(5)} | {"9.webp": "bad"})
    reader = ("reader.type=folder", f"reader.folder={raw}", "reader.captions=name")
    data("run", "pack", f"out={tmp_path}/set", *reader, "rows_per_shard=2")
    index = tmp_path / "set/index.bin"
    packed = index.read_bytes()
    assert len(ShardSet(tmp_path / "set")) == 5
    index.unlink()
    done = index_set(str(tmp_path / "set"))
    assert not done.problems and index.read_bytes() == packed


def test_keys_are_clean_and_unique() -> None:
    seen: dict[str, int] = {}
    names = ["a/b.c", "a b c", "a-b-c", "a-b-c-2", "", "é", "x" * 200]
    keys = [unique_key(name, seen) for name in names]
    assert keys == ["a-b-c", "a-b-c-2", "a-b-c-3", "a-b-c-2-2", "row", "row-2", "x" * 80]
