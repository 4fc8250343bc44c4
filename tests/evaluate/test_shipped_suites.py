"""The shipped suites through the command line, on small files in the published formats and on the embedded sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.cli import main
from mmcontrast.evaluate.readers.gtzan import fault_filtered
from mmcontrast.train import train
from tests.evaluate.choice_cases import CHOICE_CASES, sugarcrepe_plus
from tests.evaluate.fakes import picture, tones
from tests.evaluate.published import put
from tests.small_run import run_of


def table(path: Path, *lines: str) -> None:
    """Write the lines of a list."""
    put(path, "\n".join(lines) + "\n")


def write_sounds(root: Path) -> None:
    """Every set of the suite ``audio``, a few clips each."""
    esc = [f"{fold}-{number}-A-{number}.wav,{fold},{number},{name},True,{fold}{number},A"
           for fold in (1, 2, 3) for number, name in enumerate(("dog", "rain"))]  # fmt: skip
    table(root / "ESC-50-master/meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take", *esc)
    for line in esc:
        put(root / "ESC-50-master/audio" / line.split(",")[0], tones(int(line.split(",")[2]), level=0.3))
    urban = [f"{fold}{number}-{number}-0-0.wav,{fold}{number},0,1,1,{fold},{number},{name}"
             for fold in (1, 2, 3) for number, name in enumerate(("air_conditioner", "car_horn"))]  # fmt: skip
    columns = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    table(root / "UrbanSound8K/metadata/UrbanSound8K.csv", columns, *urban)
    for line in urban:
        name, fold = line.split(",")[0], line.split(",")[5]
        put(root / f"UrbanSound8K/audio/fold{fold}/{name}", tones(int(name.split("-")[1]), level=0.3))
    for genre in ("blues", "hiphop"):
        for split, wanted in (("train", 3), ("test", 1)):
            of_split = [name for name, its in fault_filtered().items() if its == split and name.startswith(genre)]
            for name in of_split[:wanted]:
                put(root / f"GTZAN/genres_original/{genre}/{name}.wav", tones(len(genre)))
    table(
        root / "FSD50K/FSD50K.ground_truth/eval.csv",
        "fname,labels,mids",
        '1,"Guitar,Music","/m/1,/m/2"',
        "2,Bark,/m/3",
    )
    table(root / "FSD50K/FSD50K.ground_truth/vocabulary.csv", "0,Bark,/m/3", "1,Guitar,/m/1", "2,Music,/m/2")
    table(root / "VGGSound/vggsound.csv", "abc,1,people marching,test", "abd,30,dog barking,test")
    table(root / "AudioSet/class_labels_indices.csv", "index,mid,display_name", "0,/m/a,Speech", "1,/m/b,Music")
    table(root / "AudioSet/eval_segments.csv", "# Segments csv", "# num_ytids=2",
          "# YTID, start_seconds, end_seconds, positive_labels",
          'abc, 0.000, 10.000, "/m/a"', 'abd, 0.000, 10.000, "/m/b"')  # fmt: skip
    table(root / "AudioCaps/test.csv", "audiocap_id,youtube_id,start_time,caption", "1,abc,20,A dog barks",
          "2,abc,20,A dog is barking", "3,abd,0,Rain falls")  # fmt: skip
    table(root / "Clotho/clotho_captions_evaluation.csv", "file_name," + ",".join(f"caption_{n}" for n in range(1, 6)),
          "Rain.wav,one,two,three,four,five", "Wind.wav,six,seven,eight,nine,ten")  # fmt: skip
    names = ("FSD50K/FSD50K.eval_audio/1", "FSD50K/FSD50K.eval_audio/2", "VGGSound/audio/abc_000001",
             "VGGSound/audio/abd_000030", "AudioSet/audio/Yabc", "AudioSet/audio/Yabd", "AudioCaps/audio/abc_20",
             "AudioCaps/audio/abd_0", "Clotho/evaluation/Rain", "Clotho/evaluation/Wind")  # fmt: skip
    for number, name in enumerate(names):
        put(root / f"{name}.wav", tones(number))


def write_pictures(root: Path) -> None:
    """The sets of the suite ``image`` but CIFAR, whose files torchvision knows by their checksums."""
    put(root / "imagenet.yaml", "type: folder\nroot: imagenet/val\n")
    for number in range(4):
        put(root / f"imagenet/val/n0{number % 2}/{number}.JPEG", picture(number))
        put(root / f"coco/val2014/{number}.jpg", picture(number + 9))
    images = [{"filename": f"{number}.jpg", "filepath": "val2014", "split": "test",
               "sentences": [{"raw": f"{word} {number}"} for word in ("one", "two", "three", "four", "five")]}
              for number in range(4)]  # fmt: skip
    put(root / "coco/dataset_coco.json", json.dumps({"images": images}))


@pytest.fixture(scope="module")
def trained(sets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    train(run_of(sets, out, steps=2))
    return out


def evaluate(run: Path, suite: str, out: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a shipped suite; the exit code and the result."""
    code = main(["eval", "run", str(run), "--suite", suite, "--out", str(out), *options])
    tree: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for name, report in tree["evaluators"].items():
        first = report["metrics"][report["primary"]]
        assert first["value"] is not None and report["num_missing"] == 0, name
    assert (out / "report.html").read_text(encoding="utf-8").count("<svg") > 0
    return code, tree


def test_all_sets_of_sounds_are_read_in_their_published_formats(trained: Path, tmp_path: Path) -> None:
    write_sounds(tmp_path)
    code, tree = evaluate(trained, "audio", tmp_path / "out", "--data", str(tmp_path))
    assert code == 0 and not tree["absent"] and not tree["skipped"] and len(tree["evaluators"]) == 13
    rows = {name: report["num_rows"] for name, report in tree["evaluators"].items()}
    assert rows["esc50"] == rows["esc50_probe"] == rows["urbansound8k_probe"] == 6 and rows["gtzan_probe"] == 2
    assert rows["clotho_text_to_audio"] == 10


def test_what_is_absent_is_named_with_where_to_get_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path)
    code, tree = evaluate(trained, "image", tmp_path / "out", "--data", str(tmp_path))
    assert code == 3 and set(tree["absent"]) == {"cifar10", "cifar10_knn"}
    assert "download=True" in tree["absent"]["cifar10"]
    said = capsys.readouterr()
    assert "2 sets or rows are missing" in said.err and "not run cifar10" in said.out
    assert set(tree["evaluators"]) == {"imagenet", "coco_text_to_image", "coco_image_to_text"}
    assert evaluate(trained, "image", tmp_path / "out", "--data", str(tmp_path), "--allow-missing")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["quick", "trimodal"])
def test_suites_on_the_embedded_sets_miss_nothing(suite: str, trained: Path, tmp_path: Path) -> None:
    code, tree = evaluate(trained, suite, tmp_path / "out")
    assert code == 0 and not tree["absent"] and not tree["skipped"]


FOLDERS = {  # of the suite ``compositional`` -> the sets in it
    "aro": ("aro_relation", "aro_attribution", "aro_order"), "sugar-crepe": ("sugarcrepe",), "svo": ("svo_probes",),
    **{name: (name,) for name in ("winoground", "crepe", "valse", "cola", "mmvp", "negbench", "nevir", "compa", "gqa",
                                  "comco")},
}  # fmt: skip


@pytest.mark.slow
def test_every_set_of_choices_is_asked_in_its_published_format(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, kinds in FOLDERS.items():
        for kind in kinds:
            CHOICE_CASES[kind][0](tmp_path / folder)
    sugarcrepe_plus(tmp_path / "scpp")
    put(tmp_path / "flickr30k_order.yaml", "{type: aro_order, root: aro, file: coco_order.jsonl}")
    put(tmp_path / "scpp_text.yaml", "{type: sugarcrepe, root: scpp, task: text}")
    put(tmp_path / "compa_attribute.yaml", "{type: compa, root: compa}")
    code, tree = evaluate(trained, "compositional", tmp_path / "out", "--data", str(tmp_path))
    sounds = {"order_seen_font", "order_unseen_font", "compa_order", "compa_attribute"}
    assert set(tree["skipped"]) == sounds and "the audio tower hears 0.25 s" in tree["skipped"]["compa_order"]
    assert code == 3 and len(tree["evaluators"]) == 16 and not tree["failed"]
    assert "fewer than 25 items" in tree["absent"]["aro_attribution"]  # this copy has one
    for name, report in tree["evaluators"].items():
        controls = report["metrics"][report["primary"]]["controls"]
        assert {"untrained", "constant", "bag_of_words", "order_insensitive", "text_length"} <= set(controls), name
        assert controls["constant"] == 0, name
    assert tree["evaluators"]["winoground"]["facts"]["same words in another order"] == 0
    assert "SugarCrepe++, texts alone" in capsys.readouterr().out
