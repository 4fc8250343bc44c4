"""Small copies of the files that people download, each as it is published."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.evaluate.fakes import picture, tones
from tests.evaluate.published import put

Make = Callable[[Path], None]
Case = tuple[Make, int, tuple[str, ...], dict[str, Any]]  # how the files look, rows, classes, first row's fields


def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def npy(values: list[int]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(values))
    return stream.getvalue()


def folder(root: Path) -> None:
    put(root / "n01" / "b.JPEG", picture(1))
    put(root / "n01" / "a.png", picture(2))
    put(root / "n02" / "c.png", picture(3))
    (root / "n03").mkdir()
    put(root / "n02" / "notes.txt", "no picture")


def clip_benchmark(root: Path) -> None:
    put(root / "test" / "nshards.txt", "2\n")
    tar(root / "test" / "0.tar", {"s0.png": picture(1), "s0.cls": b"1"})
    tar(root / "test" / "1.tar", {"s0.png": picture(0), "s0.cls": b"0"})
    put(root / "classnames.txt", "cat\ndog\n")
    put(root / "zeroshot_classification_templates.txt", "a {c}\na picture of {c}\n")


def multi_label_wds(root: Path) -> None:
    put(root / "test" / "nshards.txt", "1")
    tar(
        root / "test" / "0.tar",
        {"a.png": picture(1), "a.npy": npy([1, 0, 1]), "b.png": picture(2), "b.npy": npy([0, 0, 0])},
    )
    put(root / "classnames.txt", "cat\ndog\nhat\n")


def retrieval_wds(root: Path) -> None:
    put(root / "test" / "nshards.txt", "1")
    tar(root / "test" / "0.tar", {"a.png": picture(1), "a.txt": b"one\ntwo\n"})


def karpathy(root: Path) -> None:
    images = [
        {"filename": "1.jpg", "filepath": "val2014", "split": "test", "sentences": [{"raw": "one "}, {"raw": "uno"}]},
        {"filename": "2.jpg", "filepath": "val2014", "split": "restval", "sentences": [{"raw": "two"}]},
    ]
    put(root / "dataset_coco.json", json.dumps({"images": images}))
    put(root / "val2014" / "1.jpg", picture(1))


def esc50(root: Path) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take", "1-1-A-1.wav,1,1,crackling_fire,True,1,A",
             "2-1-A-0.wav,2,0,dog,True,2,A"]  # fmt: skip
    put(root / "meta" / "esc50.csv", "\n".join(lines))
    for name in ("1-1-A-1.wav", "2-1-A-0.wav"):
        put(root / "audio" / name, tones(1))


def urbansound8k(root: Path) -> None:
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class", "7-3-0-0.wav,7,0,1,1,5,3,dog_bark"]
    put(root / "metadata" / "UrbanSound8K.csv", "\n".join(lines))
    put(root / "audio" / "fold5" / "7-3-0-0.wav", tones(1))


def gtzan(root: Path) -> None:
    put(root / "genres_original" / "hiphop" / "hiphop.00000.wav", tones(1))


def fsd50k(root: Path) -> None:
    put(root / "FSD50K.ground_truth" / "eval.csv", 'fname,labels,mids\n37199,"Electric_guitar,Guitar","/m/1,/m/2"\n')
    put(
        root / "FSD50K.ground_truth" / "vocabulary.csv",
        "0,Accelerating_and_revving,/m/0\n1,Guitar,/m/2\n2,Electric_guitar,/m/1\n",
    )
    put(root / "FSD50K.eval_audio" / "37199.wav", tones(1))


def vggsound(root: Path) -> None:
    put(root / "vggsound.csv", '---g-f_I2yQ,1,"people marching",test\nabc,30,"dog barking",train\n')
    put(root / "audio" / "---g-f_I2yQ_000001.wav", tones(1))


def audioset(root: Path) -> None:
    put(
        root / "class_labels_indices.csv",
        'index,mid,display_name\n1,/m/b,"Child speech, kid speaking"\n0,/m/a,Speech\n',
    )
    head = (
        "# Segments csv created Sun Mar  5 2017\n# num_ytids=1\n# YTID, start_seconds, end_seconds, positive_labels\n"
    )
    put(root / "eval_segments.csv", head + '--4gqARaEJE, 0.000, 10.000, "/m/a,/m/b"\n')
    put(root / "audio" / "Y--4gqARaEJE.wav", tones(1))


def audiocaps(root: Path) -> None:
    lines = ["audiocap_id,youtube_id,start_time,caption", "1,abc,20,A dog barks", "2,abc,20,A dog is barking"]
    put(root / "test.csv", "\n".join(lines))
    put(root / "audio" / "abc_20.wav", tones(1))


def clotho(root: Path) -> None:
    names = ",".join(f"caption_{number}" for number in range(1, 6))
    put(root / "clotho_captions_evaluation.csv", f'file_name,{names}\nRain (2).wav,one,two,"three, four",five,six\n')
    put(root / "evaluation" / "Rain (2).wav", tones(1))


def laion_audio(root: Path) -> None:
    tar(root / "test" / "0.tar", {"1.flac": tones(1), "1.json": json.dumps({"tag": ["dog", "cat"]}).encode()})
    tar(root / "test" / "1.tar", {"1.flac": tones(1), "1.json": json.dumps({"tags": "rain"}).encode()})


def medmnist(path: Path) -> None:
    images, labels = np.zeros((3, 28, 28), np.uint8), np.array([[1], [0], [2]])
    np.savez(path, test_images=images, test_labels=labels)


def torchvision_digits(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    for name in ("train", "t10k"):
        put(raw / f"{name}-images-idx3-ubyte", bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(8))
        put(raw / f"{name}-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 1]))


def sts_benchmark(root: Path) -> None:
    put(root / "sts-test.csv", 'main-captions\tMSRvid\t2012test\t0024\t2.500\tA girl is "here.\tA girl.\n')


def cirr(root: Path) -> None:
    put(
        root / "image_splits" / "split.rc2.val.json",
        json.dumps({"dev-1": "./dev/dev-1.png", "dev-2": "./dev/dev-2.png"}),
    )
    query = {"pairid": 1, "reference": "dev-1", "target_hard": "dev-2", "target_soft": {"dev-2": 1.0},
             "caption": "is red", "img_set": {"id": 0, "members": ["dev-1", "dev-2"]}}  # fmt: skip
    put(root / "captions" / "cap.rc2.val.json", json.dumps([query]))
    for number in (1, 2):
        put(root / "dev" / f"dev-{number}.png", picture(number))


def fashioniq(root: Path) -> None:
    put(root / "image_splits" / "split.dress.val.json", json.dumps(["B1", "B2"]))
    query = {"candidate": "B1", "target": "B2", "captions": ["is longer.", "has no sleeves"]}
    put(root / "captions" / "cap.dress.val.json", json.dumps([query]))
    for number in (1, 2):
        put(root / "images" / f"B{number}.jpg", picture(number))


def judgements(root: Path) -> None:
    lines = [
        "query,product_id,title,image_local,score_linear",
        "red shoe,p1,Shoe,p1.png,88",
        "red shoe,p2,Hat,p2.png,3",
    ]
    put(root / "query_1_product_id_1.csv", "\n".join(lines))
    for name in ("p1", "p2"):
        put(root / f"{name}.png", picture(1))


def simat(root: Path) -> None:
    lines = ["region_id,subj,rel,obj", "61,dog,laying in,pillow", "62,cat,laying in,pillow"]
    put(root / "triplets.csv", "\n".join(lines))
    head = ",transfo_id,region_id,field,value,target,norm,query_ids,target_ids,dataset_id,norm2,is_test"
    put(root / "transfos.csv", f"{head}\n24,24,61,subj,dog,cat,26,203,120,1642,871,True\n")
    put(root / "images" / "A dog laying in pillow" / "61.jpg", picture(1))
    put(root / "images" / "A cat laying in pillow" / "62.jpg", picture(2))


def sick(root: Path) -> None:
    lines = ["pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment",
             '6\tThere is no "boy" here\tA group of boys\t3.3\tNEUTRAL']  # fmt: skip
    put(root / "SICK_test_annotated.txt", "\n".join(lines) + "\n")


def senteval(root: Path) -> None:
    put(root / "downstream" / "MR" / "rt-polarity.pos", "a fine caf\xe9 \x85 film\n".encode("latin-1"))
    put(root / "downstream" / "MR" / "rt-polarity.neg", "dull\n\n")
    put(root / "downstream" / "TREC" / "train_5500.label", "DESC:manner How did it start ?\n")
    put(root / "downstream" / "TREC" / "TREC_10.label", "NUM:dist How far : is it ?\n")
    for split, label in (("train", 1), ("dev", 0), ("test", 1)):
        put(root / "downstream" / "SST" / "binary" / f"sentiment-{split}", f"so so {split}\t{label}\n")
    put(root / "probing" / "bigram_shift.txt", "tr\tO\tOne two .\nte\tI\tTwo one .\n")


def cola_single(root: Path) -> None:
    rows = [["vg/images/1.jpg", {"plate": ["white"]}, [1, 0], [1, 1]], ["http://x/y/2.jpg", {}, [0, 0], [0, 1]]]
    put(root / "data" / "COLA_singleobjects_benchmark_GQA.json", json.dumps([["white plate", "red cup"], rows]))
    for number in (1, 2):
        put(root / "images" / f"{number}.jpg", picture(number))


CASES: dict[str, Case] = {
    "folder": (folder, 3, ("n01", "n02", "n03"), {"label": "n01", "folder": "n01"}),
    "clip_benchmark": (clip_benchmark, 2, ("cat", "dog"), {"class": 1, "label": "dog"}),
    "karpathy": (karpathy, 1, (), {"captions": ["one", "uno"], "caption": "one", "picture": "val2014/1.jpg"}),
    "esc50": (esc50, 2, ("dog", "crackling fire"), {"label": "crackling fire", "fold": "1", "recording": "1"}),
    "urbansound8k": (urbansound8k, 1, ("dog bark",), {"label": "dog bark", "fold": "5", "recording": "7"}),
    "fsd50k": (fsd50k, 1, ("accelerating and revving", "guitar", "electric guitar"),
               {"labels": ["electric guitar", "guitar"]}),
    "vggsound": (vggsound, 1, ("dog barking", "people marching"), {"label": "people marching"}),
    "audioset": (audioset, 1, ("Speech", "Child speech, kid speaking"),
                 {"labels": ["Speech", "Child speech, kid speaking"]}),
    "audiocaps": (audiocaps, 1, (), {"captions": ["A dog barks", "A dog is barking"]}),
    "clotho": (clotho, 1, (), {"captions": ["one", "two", "three, four", "five", "six"], "clip": "Rain (2).wav"}),
    "laion_audio": (laion_audio, 2, ("cat", "dog", "rain"), {"labels": ["dog", "cat"], "label": "dog"}),
    "sts_benchmark": (sts_benchmark, 1, (), {"score": 2.5, "sentence1": 'A girl is "here.', "sentence2": "A girl."}),
    "cirr": (cirr, 2, (), {"picture": "dev-1"}),
    "fashioniq": (fashioniq, 2, (), {"picture": "B1"}),
    "sick": (sick, 1, (), {"score": 3.3, "sentence1": 'There is no "boy" here', "entailment": "NEUTRAL"}),
    "senteval": (senteval, 2, ("negative", "positive"), {"text": "a fine caf\xe9 \x85 film", "label": "positive"}),
    "simat": (simat, 2, (), {"caption": "A dog laying in pillow"}),
    "cola_single": (cola_single, 2, ("white plate", "red cup"),
                    {"labels": ["white plate"], "hard": ["white plate", "red cup"]}),
    "judgements": (judgements, 2, (), {"text": "Shoe", "product": "p1"}),
}  # fmt: skip
