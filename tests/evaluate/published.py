"""Small sets in the files that are published; pictures are a red and a green number, which texts name."""

from __future__ import annotations

import json
from pathlib import Path

from tests.evaluate.fakes import picture


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def marqo(root: Path) -> str:
    """Products of a red and a green number; a query for a red number finds these, the better the lower the green."""
    lines, corpus = ["query,product_id,title,image_local,score_linear"], {}
    for red in range(5):
        for green in range(6):
            name = f"p{red}{green}"
            put(root / "images" / f"{name}.png", picture(red, green))
            meta = {"title": f"red {red} green {green}", "image_local": f"images/{name}.png"}
            corpus[name] = meta
            if green < 4:
                lines.append(
                    f"red {red} green 0,{name},{meta['title']},{meta['image_local']},{100 if green == 0 else 40}"
                )
    put(root / "query_1_product_id_1.csv", "\n".join(lines))
    put(root / "corpus_2.json", json.dumps(corpus))
    put(root / "gcl.yaml", "type: judgements\ncorpus: corpus_2.json\nscale: gcl\n")
    put(root / "truth.yaml", "type: judgements\ncorpus: corpus_2.json\ntruth: gt_test.json\n")
    put(root / "gt_test.json", json.dumps({"red 1 green 0": {"p10": 100, "p25": 3}}))
    return str(root / "gcl.yaml")


def cirr(root: Path) -> str:
    """Change the red number of a picture; five others of its group differ in the green one or by another red."""
    names = {f"dev-{red}-{green}-0-img0": (red, green) for red in range(6) for green in range(6)}
    put(root / "image_splits" / "split.rc2.val.json", json.dumps({name: f"./dev/{name}.png" for name in names}))
    for name, numbers in names.items():
        put(root / "dev" / f"{name}.png", picture(*numbers))
    queries = []
    for number, green in enumerate(range(6)):
        reference, target = f"dev-0-{green}-0-img0", f"dev-2-{green}-0-img0"
        others = [f"dev-{red}-{(green + 1) % 6}-0-img0" for red in range(1, 5)]
        queries.append(
            {"pairid": number, "reference": reference, "target_hard": target, "target_soft": {target: 1.0},
             "caption": "not red 0 but red 2", "img_set": {"id": 1, "members": [reference, target, *others]}}
        )  # fmt: skip
    put(root / "captions" / "cap.rc2.val.json", json.dumps(queries))
    return f"cirr:{root}"


def simat(root: Path) -> str:
    lines, changes = ["region_id,subj,rel,obj"], [
        ",transfo_id,region_id,field,value,target,norm,query_ids,target_ids,dataset_id,norm2,is_test"
    ]  # fmt: skip
    for red in range(3):
        for green in range(4):
            region = f"{red}{green}"
            folder = root / "images" / f"A red {red} beside green {green}"
            put(folder / f"{region}.jpg", picture(red, green))
            lines.append(f"{region},red {red},beside,green {green}")
            other = (red + 1) % 3
            changes.append(f"0,0,{region},subj,red {red},red {other},1,0,0,0,{4 if green else 1},{green < 3}")
    changes.append("0,0,00,obj,green 0,green 9,1,0,0,0,4,True")  # nobody took that picture
    put(root / "triplets.csv", "\n".join(lines))
    put(root / "transfos.csv", "\n".join(changes))
    return f"simat:{root}"


def fashioniq(root: Path) -> str:
    """Dresses whose red number should become 3."""
    names = [f"B{red}{green}" for red in range(6) for green in range(10)]
    for name in names:
        put(root / "images" / f"{name}.png", picture(int(name[1]), int(name[2])))
    queries = [
        {"candidate": f"B0{green}", "target": f"B3{green}", "captions": ["is not red 0.", "is red 3, "]}
        for green in range(4)
    ]
    put(root / "image_splits" / "split.dress.val.json", json.dumps(names))
    put(root / "captions" / "cap.dress.val.json", json.dumps(queries))
    return f"fashioniq:{root}"
