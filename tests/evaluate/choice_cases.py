"""Small copies of the published files of choices among a few, each as it is published."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcontrast.evaluate.collection import open_collection
from mmcontrast.probe_file import ProbeHeader, ProbeItem, write_probe
from tests.evaluate.fakes import picture, tones
from tests.evaluate.published import put
from tests.evaluate.reader_cases import Case


def table(path: Path, *rows: Sequence[Any]) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    put(path, stream.getvalue())


def frozen_probe(root: Path) -> None:
    put(root / "source" / "things" / "a.png", picture(3))
    put(root / "media" / "b.png", picture(4))
    source = f"folder:{root / 'source'}"
    header = ProbeHeader(
        kind="bias", name="Made up", modality="image", seed=0, source=source,
        source_sha256=open_collection(source).facts()["manifest_sha256"],
    )  # fmt: skip
    scene = {"size": [8, 4], "parts": [{"row": "things/a.png", "box": [0, 0, 4, 4]}]}
    items = [
        ProbeItem(
            id="one", category="left", contexts=[{"row": "things/a.png"}, {"file": "media/b.png"}],
            texts=["red 3", "red 4"], right=[[0], [1]],
        ),
        ProbeItem(id="two", category="right", contexts=[{"scene": scene}], texts=["red 3", "red 9"], right=[[0]]),
    ]  # fmt: skip
    write_probe(root, header, items)


def _aro(root: Path, name: str, **fields: Any) -> None:
    box = {"bbox_x": 1, "bbox_y": 0, "bbox_w": 2, "bbox_h": 3}
    captions = {"true_caption": "the horse is eating the grass", "false_caption": "the grass is eating the horse"}
    rows = [{"image_id": "1", "image_path": "1.jpg", **box, **captions, **fields}]
    put(root / f"visual_genome_{name}.json", json.dumps(rows))
    put(root / "images" / "1.jpg", picture(1))


def aro_relation(root: Path) -> None:
    _aro(root, "relation", relation_name="eating")


def aro_attribution(root: Path) -> None:
    _aro(root, "attribution", attributes=["paved", "white"])


def aro_order(root: Path) -> None:
    texts = {"correct_caption": "a red cat", **{f"hard_text_{n}": f"cat red a {n}" for n in range(1, 5)}}
    put(root / "coco_order.jsonl", json.dumps({"image": "val2014/1.jpg", **texts}))
    put(root / "images" / "val2014" / "1.jpg", picture(1))


def sugarcrepe(root: Path) -> None:
    name = "000000000001.jpg"
    row = {"filename": name, "caption": "A dog left of a cat.", "negative_caption": "A cat left of a dog."}
    put(root / "data" / "swap_obj.json", json.dumps({"0": row, "7": row}))
    put(root / "data" / "add_att.json", json.dumps({"0": row | {"negative_caption": "A red dog left of a cat."}}))
    put(root / "val2017" / name, picture(1))


def sugarcrepe_plus(root: Path) -> None:
    captions = {"caption": "A red 1.", "caption2": "One that is red.", "negative_caption": "No."}
    put(root / "swap_obj.json", json.dumps([{"id": 0, "filename": "1.jpg", **captions}]))
    put(root / "images" / "1.jpg", picture(1))


def winoground(root: Path) -> None:
    row = {"id": 0, "caption_0": "some plants surrounding a lightbulb", "caption_1": "a lightbulb surrounding plants",
           "image_0": "ex_0_img_0", "image_1": "ex_0_img_1", "collapsed_tag": "Object"}  # fmt: skip
    put(root / "data" / "examples.jsonl", json.dumps(row))
    for number in (0, 1):
        put(root / "images" / f"ex_0_img_{number}.png", picture(number))


def crepe(root: Path) -> None:
    head = ("image_id", "caption", "x", "y", "width", "height")
    table(root / "prod" / "prod_vg_hard_negs_swap_complexity_4.csv", (*head, "hard_negs"),
          (2, "red on green", 0, 0, 2, 3, ["green on red", 'the "red"']))  # fmt: skip
    negatives = ("valid_hard_negs_atom", "valid_hard_negs_comp")
    table(root / "syst" / "syst_vg_hard_negs_seen_compounds_in_cc12m.csv", (*head, *negatives),
          (2, "red on green", 0, 0, 2, 3, ["blue on green"], []))  # fmt: skip
    put(root / "VG_100K_2" / "2.jpg", picture(2))


def valse(root: Path) -> None:
    row = {"dataset": "visual7w", "image_file": "v7w_1.jpg", "caption": "There are no people.",
           "foil": "There are people.", "mturk": {"foil": 0, "caption": 3, "other": 0}}  # fmt: skip
    doubted = row | {"mturk": {"foil": 2, "caption": 1, "other": 0}}
    put(root / "data" / "existence.json", json.dumps({"existence_1": row, "existence_2": doubted}))
    put(root / "data" / "visual7w" / "images" / "v7w_1.jpg", picture(1))


def svo_probes(root: Path) -> None:
    head = ("sentence", "pos_triplet", "neg_triplet", "pos_url", "neg_url", "pos_image_id", "neg_image_id",
            "subj_neg", "verb_neg", "obj_neg")  # fmt: skip
    row = ("A man runs.", "man,run,", "man,sit,", "http://x/a", "http://x/b", 10, 11, False, True, False)
    table(root / "svo_probes.csv", head, row, (*row[:7], True, True, False))
    for number in (10, 11):
        put(root / "images" / f"{number}.jpg", picture(number))


def cola(root: Path) -> None:
    rows = [["https://x/y/1.jpg", "red on green", "https://x/y/2.jpg", "green on red"]]
    put(root / "data" / "COLA_multiobjects_matching_benchmark.json", json.dumps(rows))
    for number in (1, 2):
        put(root / "images" / f"{number}.jpg", picture(number))


def mmvp(root: Path) -> None:
    head = ("Question ID", "Type", "Statement")
    table(root / "Questions.csv", head, (1, "Color", "a red dog"), (2, "Color", "a dog"))
    for number in (1, 2):
        put(root / "MLLM_VLM Images" / "Color" / f"{number}.jpg", picture(number))


def negbench(root: Path) -> None:
    head = ("image_path", "correct_answer", "correct_answer_template", *(f"caption_{n}" for n in range(4)))
    table(root / "COCO_val_mcq_llama3.1_rephrased.csv", head,
          ("data/coco/val2017/1.jpg", 2, "negative", "a dog", "a dog, no cat", "no dog", "no cat"))  # fmt: skip
    put(root / "val2017" / "1.jpg", picture(1))


def nevir(root: Path) -> None:
    head = ("id", "q1", "q2", "doc1", "doc2")
    table(root / "test.csv", head, (1, "Who is not?", "Who is?", "One is not.", "One is."))


def compa_order(root: Path) -> None:
    head = ("pair_caption", "reversed_pair_caption", "triplet_caption", "pair_file", "reversed_pair_file",
            "triplet_file")  # fmt: skip
    row = ("1 then 2", "2 then 1", "-", "a.wav", "b.wav", "-")
    table(root / "CompA_order" / "CompA_order_benchmark.csv", head, row)
    for name, numbers in (("a", (1, 2)), ("b", (2, 1))):
        put(root / "CompA_order" / "CompA_order_files" / f"{name}.wav", tones(*numbers))


def gqa(root: Path) -> None:
    box = {"x": 0, "y": 10, "w": 60, "h": 60}
    objects = {
        "1": {"name": "dog", **box, "attributes": ["brown"], "relations": [{"name": "on", "object": "2"}]},
        "2": {"name": "sofa", "x": 20, "y": 0, "w": 60, "h": 60, "attributes": ["red"], "relations": []},
        "3": {"name": "cup", "x": 20, "y": 0, "w": 6, "h": 60, "attributes": ["red"], "relations": []},
        "4": {"name": "cup", "x": 20, "y": 0, "w": 6, "h": 60, "attributes": ["blue"], "relations": []},
    }
    put(root / "val_sceneGraphs.json", json.dumps({"7": {"width": 90, "height": 90, "objects": objects}}))
    put(root / "images" / "7.jpg", picture(7))


def comco(root: Path) -> None:
    for number, name in enumerate(("car", "carrot", "dog", "cat")):
        put(root / "CoCo-OneObject" / f"{name}.png", picture(number))
    put(root / "CoCo-FourObject-Middle-Big" / "dog_carrot_cat.png", picture(9))


CHOICE_CASES: dict[str, Case] = {
    "probe": (frozen_probe, 3, (), {"row": "things/a.png"}),
    "aro_relation": (aro_relation, 1, (), {"picture": "1.jpg", "box": [1, 0, 2, 3]}),
    "aro_attribution": (aro_attribution, 1, (), {"picture": "1.jpg"}),
    "aro_order": (aro_order, 1, (), {"file": "1.jpg"}),
    "sugarcrepe": (sugarcrepe, 1, (), {"file": "000000000001.jpg"}),
    "winoground": (winoground, 2, (), {"file": "ex_0_img_0.png"}),
    "crepe": (crepe, 1, (), {"picture": "2", "box": [0, 0, 2, 3]}),
    "valse": (valse, 1, (), {"file": "v7w_1.jpg"}),
    "svo_probes": (svo_probes, 2, (), {"file": "10.jpg"}),
    "cola": (cola, 2, (), {"file": "1.jpg"}),
    "mmvp": (mmvp, 2, (), {"file": "1.jpg"}),
    "negbench": (negbench, 1, (), {"file": "1.jpg"}),
    "nevir": (nevir, 2, (), {"text": "Who is not?"}),
    "compa": (compa_order, 2, (), {"file": "a.wav"}),
    "gqa": (gqa, 1, (), {"picture": "7", "box": [0, 0, 80, 70]}),
    "comco": (comco, 5, (), {"kind": "single", "object": "car"}),
}
