"""What the published files of choices ask: texts, right answers and categories as the published code has them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcontrast.errors import ConfigError, MissingData, SkipSample
from mmcontrast.evaluate.collection import Collection, open_collection
from mmcontrast.evaluate.names import exclusions
from mmcontrast.evaluate.readers import READERS
from tests.evaluate.choice_cases import CHOICE_CASES, gqa, negbench, sugarcrepe, sugarcrepe_plus, table
from tests.evaluate.fakes import picture, tones
from tests.evaluate.published import put

ASKED: dict[str, list[tuple[str, list[str], list[list[int]]]]] = {  # category, texts, right
    "aro_relation": [("eating", ["the grass is eating the horse", "the horse is eating the grass"], [[1]])],
    "aro_attribution": [("paved_white", ["the grass is eating the horse", "the horse is eating the grass"], [[1]])],
    "aro_order": [("coco", ["a red cat", *(f"cat red a {n}" for n in range(1, 5))], [[0]])],
    "sugarcrepe": [
        ("add_att", ["A dog left of a cat.", "A red dog left of a cat."], [[0]]),
        ("swap_obj", ["A dog left of a cat.", "A cat left of a dog."], [[0]]),
        ("swap_obj", ["A dog left of a cat.", "A cat left of a dog."], [[0]]),
    ],
    "winoground": [
        ("Object", ["some plants surrounding a lightbulb", "a lightbulb surrounding plants"], [[0], [1]])
    ],
    "crepe": [
        ("prod_vg_hard_negs_swap_complexity_4", ["red on green", "green on red", 'the "red"'], [[0]]),
        ("syst_vg_hard_negs_seen_compounds_in_cc12m atom", ["red on green", "blue on green"], [[0]]),
    ],
    "valse": [("existence", ["There are no people.", "There are people."], [[0]])],
    "svo_probes": [("verb", ["A man runs."], [[0], []])],
    "cola": [("pairs", ["red on green", "green on red"], [[0], [1]])],
    "mmvp": [("Color", ["a photo of a red dog", "a photo of a dog"], [[0], [1]])],
    "negbench": [("negative", ["a dog", "a dog, no cat", "no dog", "no cat"], [[2]])],
    "nevir": [("test", ["One is not.", "One is."], [[0], [1]])],
    "compa": [("order", ["1 then 2", "2 then 1"], [[0], [1]])],
    "gqa": [
        ("relation on", ["the dog is on the sofa", "the sofa is on the dog"], [[0]]),
        ("attribute", ["the brown dog and the red sofa", "the red dog and the brown sofa"], [[0]]),
    ],
    "comco": [
        ("large", ["carrot and dog and cat", "car and dog and cat"], [[0]]),
        ("small", ["dog and cat and carrot", "carrot and dog and car"], [[0]]),
    ],
}  # fmt: skip


def read(kind: str, root: Path, **fields: Any) -> Collection:
    cls = READERS.get(kind)
    return cls(cls.Config(root=root, **fields)).read()


def asked(found: Collection) -> list[tuple[str, list[str], list[list[int]]]]:
    return [(query["category"], query["texts"], query["right"]) for query in found.queries]


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_items_are_those_of_the_published_code(kind: str, tmp_path: Path) -> None:
    CHOICE_CASES[kind][0](tmp_path / "set")
    found = open_collection(f"{kind}:{tmp_path / 'set'}")
    assert asked(found) == ASKED[kind]
    keys = {found.key(row) for row in range(len(found))}
    assert all(set(query["contexts"]) <= keys for query in found.queries)
    assert len({query["key"] for query in found.queries}) == len(found.queries)


def test_every_reader_of_choices_is_asked() -> None:
    assert set(ASKED) == set(CHOICE_CASES) - {"probe"}


def test_regions_are_cut_out_of_their_picture_and_black_beyond_it(tmp_path: Path) -> None:
    CHOICE_CASES["aro_relation"][0](tmp_path)
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:3, 1:3] = (9, 8, 7)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    put(tmp_path / "images" / "1.jpg", stream.getvalue())
    found = read("aro_relation", tmp_path)
    cut = np.asarray(Image.open(io.BytesIO(found.content(0, "image"))))
    assert cut.shape == (3, 2, 3) and (cut == (9, 8, 7)).all()
    (tmp_path / "images" / "1.jpg").unlink()
    with pytest.raises(SkipSample, match="1.jpg 1 0 2 3: .* cannot be read"):
        found.content(0, "image")


def test_both_captions_of_sugarcrepe_plus_must_win_with_and_without_the_picture(tmp_path: Path) -> None:
    sugarcrepe_plus(tmp_path)
    texts = ["A red 1.", "One that is red.", "No."]
    assert asked(read("sugarcrepe", tmp_path)) == [("swap_obj", texts, [[0, 1]])]
    alone = read("sugarcrepe", tmp_path, task="text")
    assert asked(alone) == [("swap_obj", texts, [[1], [0]])] and alone.modalities == ()
    assert alone.queries[0]["valid"] == [[False, True, True], [True, False, True]]
    sugarcrepe(tmp_path / "first")
    with pytest.raises(ConfigError, match="SugarCrepe\\+\\+'s and needs 'caption2'"):
        read("sugarcrepe", tmp_path / "first", task="text")


def test_sounds_of_compas_attributes_stand_in_the_second_column_of_that_name(tmp_path: Path) -> None:
    folder = tmp_path / "CompA_attribute"
    for repeated in ("pair_file", "pair_file.1"):
        head = ("pair_caption", "reversed_pair_caption", "pair_file", "reversed_pair_file", repeated,
                repeated.replace("pair", "reversed_pair"))  # fmt: skip
        table(folder / "Compa-Attribute.csv", head, ("a child cries", "a man cries", "yt1", "yt2", "x.wav", "y.wav"))
        put(folder / "CompA_attribute_files" / "x.wav", tones(1))
        found = read("compa", tmp_path, part="attribute")
        assert found.queries[0]["contexts"] == ["x.wav", "y.wav"] and found.content(0, "audio")


def test_captions_with_negation_are_a_set_for_retrieval(tmp_path: Path) -> None:
    negbench(tmp_path)
    table(tmp_path / "retrieval.csv", ("filepath", "captions"), ("x/val2017/1.jpg", ["no dog", "a 'cat'"]))
    found = read("negbench", tmp_path, file="retrieval.csv")
    assert found.info(0)["captions"] == ["no dog", "a 'cat'"] and found.content(0, "image") and not found.queries
    table(tmp_path / "retrieval.csv", ("filepath", "captions"), ("x/1.jpg", "__import__('os').getcwd()"))
    with pytest.raises(ConfigError, match="line 2: expected a list of texts"):
        read("negbench", tmp_path, file="retrieval.csv")


def test_pictures_inside_of_a_parquet_table_are_read_one_by_one(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"id": n, "caption_0": f"{n} a", "caption_1": f"{n} b", "collapsed_tag": "Both",
         "image_0": {"bytes": picture(n), "path": None}, "image_1": {"bytes": picture(n + 100), "path": "x.png"}}
        for n in range(5)
    ]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "test.parquet", row_group_size=2)
    found = read("winoground", tmp_path)
    assert len(found) == 10 and found.queries[3]["texts"] == ["3 a", "3 b"]
    assert [found.content(row, "image") for row in (9, 0, 6)] == [picture(104), picture(0), picture(3)]
    texts = {"correct_caption": "a", **{f"hard_text_{n}": f"b{n}" for n in range(1, 5)}}
    listed = pyarrow.Table.from_pylist([{"images": [{"bytes": picture(7), "path": None}], **texts}])
    parquet.write_table(listed, tmp_path / "flickr30k_order.parquet")
    assert read("aro_order", tmp_path, of="flickr30k").content(0, "image") == picture(7)


def test_the_list_of_symmetric_relations_is_the_notebooks() -> None:
    names = exclusions("aro_symmetric")
    assert len(names) == 157 and {"next to", "by", "of", "around", "wrapped in"} <= set(names)
    assert not {"on", "under", "eating", "to the left of"} & set(names)


def test_items_from_scene_graphs_depend_on_the_seed_alone(tmp_path: Path) -> None:
    gqa(tmp_path)
    path = tmp_path / "val_sceneGraphs.json"
    graph = json.loads(path.read_text(encoding="utf-8"))
    graph["7"]["objects"]["5"] = {
        "name": "rug", "x": 0, "y": 0, "w": 60, "h": 60, "attributes": ["soft"],
        "relations": [{"name": "under", "object": "2"}],
    }  # fmt: skip
    path.write_text(json.dumps(graph), encoding="utf-8")
    assert read("gqa", tmp_path).queries == read("gqa", tmp_path).queries
    chosen = {read("gqa", tmp_path, seed=seed).queries[0]["category"] for seed in range(8)}
    assert chosen == {"relation on", "relation under"}
    assert len(read("gqa", tmp_path, per_picture=9).queries) == 5  # two relations, three pairs of attributes


@pytest.mark.parametrize(
    ("kind", "name", "content", "words"),
    [
        ("aro_relation", "visual_genome_relation.json", '[{"image_path": "1.jpg"}]', "expected a number 'bbox_x'"),
        ("sugarcrepe", "data/swap_obj.json", '{"0": {"filename": "../../x", "caption": "a", "negative_caption": "b"}}',
         "leads out of"),
        ("sugarcrepe", "data/add_obj.json", '{"0": {"filename": "x.jpg", "caption": ""}}', "a text 'caption', got ''"),
        ("valse", "data/existence.json", '{"0": {"image_file": "x"}}', "no vote mturk.caption"),
        ("cola", "data/COLA_multiobjects_matching_benchmark.json", '[["a", "b"]]', "expected \\[picture, caption"),
        ("mmvp", "Questions.csv", "id,type,statement\n1,Color,a\n", "pairs of rows"),
        ("negbench", "COCO_val_mcq_llama3.1_rephrased.csv", "image_path,correct_answer,caption_0\nx.jpg,4,a\n",
         "line 2: correct_answer 4, but 1 captions"),
        ("gqa", "val_sceneGraphs.json", '{"7": {"objects": {"1": {}}}}', "picture 7: KeyError 'name'"),
    ],
)  # fmt: skip
def test_damaged_files_are_named(kind: str, name: str, content: str, words: str, tmp_path: Path) -> None:
    CHOICE_CASES[kind][0](tmp_path)
    put(tmp_path / name, content)
    with pytest.raises(ConfigError, match=words):
        read(kind, tmp_path)


def test_other_folders_are_told_apart(tmp_path: Path) -> None:
    for kind in ("sugarcrepe", "valse", "crepe", "nevir"):
        with pytest.raises(MissingData, match="expected"):
            read(kind, tmp_path)
