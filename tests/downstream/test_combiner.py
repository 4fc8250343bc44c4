"""The combiner: its formula, its contrast, triplets from every place, and a gain over the sum."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.config import parse
from mmcontrast.downstream.base import Judged
from mmcontrast.downstream.combiner import Combiner, contrast
from mmcontrast.downstream.folder import Described, read_head, write_head
from mmcontrast.downstream.triplets import Triplets, triplets_of
from mmcontrast.errors import ConfigError, HeadError
from tests.downstream.made_up import DIM, MadeUpTowers

TOWERS = MadeUpTowers()


def learned(**fields: Any) -> Combiner:
    chosen = {"source": "0:60", "keep": "kind", "steps": 60, "batch_rows": 32, "dropout": 0.0, "lr": 3e-3, **fields}
    return Combiner.learn(Combiner.Config(**chosen), TOWERS)


def test_a_query_is_the_papers_mixture() -> None:
    head = learned(steps=2)
    reference, text = normalize(torch.randn(2, 5, DIM, generator=torch.Generator().manual_seed(0)), dim=-1)
    weights = {name: value.double() for name, value in head.state_dict().items()}

    def linear(name: str, values: torch.Tensor) -> torch.Tensor:
        return weights[f"{name}.weight"] @ values + weights[f"{name}.bias"]

    found = head.mixed(reference, text)
    for row in range(5):
        t, r = text[row].double(), reference[row].double()
        both = torch.cat([linear("text.0", t).relu(), linear("reference.0", r).relu()])
        joint = linear("joint.3", linear("joint.0", both).relu())
        share = 1 / (1 + math.exp(-float(linear("share.3", linear("share.0", both).relu()))))
        mixed = joint + share * t + (1 - share) * r
        assert torch.allclose(found[row].double(), mixed / mixed.norm(), atol=1e-5)


def test_the_contrast_spares_other_triplets_of_the_same_target() -> None:
    queries, targets = normalize(torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    ids, total = [7, 8, 7, 9], 0.0
    for row in range(4):
        keys = [key for key in range(4) if key == row or ids[key] != ids[row]]
        logits = {key: 100 * float(queries[row] @ targets[key]) for key in keys}
        top = max(logits.values())
        total += (top + math.log(sum(math.exp(each - top) for each in logits.values())) - logits[row]) / 4
    assert float(contrast(queries, targets, torch.tensor(ids), scale=100.0)) == pytest.approx(total, rel=1e-4)


def test_recall_leaves_out_the_reference_and_counts_ties_against_the_target(tmp_path: Path) -> None:
    head, path = learned(steps=1), tmp_path / "triplets.jsonl"
    rows = [{"reference": "row 0", "target": f"row {number}", "text": "more"} for number in range(8)]
    subsets = [{**row, "subset": ["row 1", row["target"]], "excluded": ["row 0"]} for row in rows[2:]]
    for lines in (rows, subsets):
        path.write_text("\n".join(json.dumps(each) for each in lines))
        found = head.judge(TOWERS, Judged(source="0:8", triplets=path))
        z = TOWERS.rows("0:8", ("image",)).z["image"].double()
        for k in (1, 5):
            hits = 0
            for line in lines:
                pool = [row for row in range(8) if f"row {row}" not in line.get("excluded", ())]
                own = int(line["target"][-1])
                better = [row for row in pool if row != own and z[0] @ z[row] >= z[0] @ z[own]]
                hits += len(better) < k
            assert found[f"reference R@{k}"] == pytest.approx(hits / len(lines))
        assert ("reference Rs@1" in found) == (lines is subsets)


def test_a_combiner_beats_the_sum_and_a_folder_gives_it_back(tmp_path: Path) -> None:
    head = learned()
    found = head.judge(TOWERS, Judged(source="3:60"))
    assert found["combiner R@1"] > found["sum R@1"] and found["rows"] > 100
    write_head(head, tmp_path / "head")
    read = read_head(tmp_path / "head")
    assert read.about == head.about and isinstance(read, Combiner)
    z = TOWERS.rows("1:8", ("image",)).z["image"]
    assert torch.equal(read.mixed(z, z), head.mixed(z, z))
    assert torch.equal(learned().mixed(z, z), head.mixed(z, z))
    with pytest.raises(HeadError, match="whose text tower is not that of"):
        head.judge(MadeUpTowers({"text": "other", "image": "i"}), Judged(source="3:60", keep="kind"))


def test_triplets_come_from_a_file_or_are_drawn(tmp_path: Path) -> None:
    rows = TOWERS.rows("0:12", ("image",))
    drawn = triplets_of(rows, file=None, keep="kind", seed=0)
    for reference, text, target in zip(drawn.references, drawn.texts, drawn.targets, strict=True):
        assert rows.fields[reference]["kind"] == rows.fields[target]["kind"] and reference != target
        assert text == rows.fields[target]["caption"]
    assert drawn == triplets_of(rows, file=None, keep="kind", seed=0)
    path = tmp_path / "triplets.jsonl"
    path.write_text('{"reference": "row 1", "text": "more", "target": "row 2", "excluded": ["row 1"]}\n')
    assert triplets_of(rows, file=path, keep=None, seed=0) == Triplets([1], ["more"], [2], [(1,)])
    path.write_text('{"reference": "row 1", "text": "more"}\n')
    with pytest.raises(HeadError, match="triplet 1: it has no target"):
        triplets_of(rows, file=path, keep=None, seed=0)
    path.write_text('{"reference": "row 1", "text": "more", "target": "nobody"}\n')
    with pytest.raises(HeadError, match="names two rows of '0:12'; the first row is 'row 0'"):
        triplets_of(rows, file=path, keep=None, seed=0)
    path.write_text("no json")
    with pytest.raises(HeadError, match="are no JSON lines"):
        triplets_of(rows, file=path, keep=None, seed=0)
    with pytest.raises(HeadError, match="have the same 'caption' and different texts"):
        triplets_of(rows, file=None, keep="caption", seed=0)
    with pytest.raises(ConfigError, match="give triplets or keep"):
        parse(Described, {"head": {"type": "combiner", "source": "a", "triplets": "b", "keep": "c"}})
