"""CLOSE: noise and gap by their formulas, and a classifier that learns from texts and is right about pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.config import parse
from mmcontrast.downstream.base import Judged
from mmcontrast.downstream.close import Close
from mmcontrast.downstream.folder import Described, read_head, write_head
from mmcontrast.downstream.gap import GapAdapter
from mmcontrast.errors import ConfigError, HeadError
from tests.downstream.made_up import MadeUpTowers

TOWERS = MadeUpTowers()


def learned(**fields: Any) -> Close:
    chosen = Close.Config(**{"source": "0:80", "label": "kind", "steps": 60, "batch_rows": 32, **fields})
    return Close.learn(chosen, TOWERS)


def accuracy(head: Close) -> float:
    return head.judge(TOWERS, Judged(source="1:120"))["head"]


@pytest.mark.parametrize("closing", ["none", "mean", "linear", "covariance"])
def test_texts_are_adapted_and_noised_as_the_paper_says(closing: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    text, target, z = (normalize(torch.randn(40, 5, generator=generator), dim=1) for _ in range(3))
    adapter = GapAdapter(5)
    adapter.fit(closing, scale=0.3, text=text, target=target)
    drawn = torch.randn(z.shape, generator=torch.Generator().manual_seed(1)).numpy()
    found = adapter.noised(adapter(z), torch.Generator().manual_seed(1)).numpy()
    difference = (target - text).double().numpy()
    for row in range(len(z)):
        point = z[row].double().numpy()
        if closing == "mean":
            point = point + difference.mean(axis=0)
        if closing == "linear":
            design = np.concatenate([text.double().numpy(), np.ones((40, 1))], axis=1)
            solved = np.linalg.inv(design.T @ design) @ design.T @ target.double().numpy()
            point = point @ solved[:-1] + solved[-1]
        point = point / np.linalg.norm(point)
        noise = 0.3 * drawn[row]
        if closing == "covariance":
            values, vectors = np.linalg.eigh(np.cov(difference.T))
            noise = difference.mean(axis=0) + drawn[row] @ vectors @ np.diag(np.sqrt(values)) @ vectors.T
        expected = (point + noise) / np.linalg.norm(point + noise)
        assert np.allclose(found[row], expected, atol=1e-5)


def test_covariance_noise_has_the_pairs_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    text = normalize(torch.randn(30, 4, generator=generator), dim=1)
    target = normalize(text + torch.tensor([0.5, 0.0, 0.1, 0.0]) * torch.randn(30, 4, generator=generator), dim=1)
    adapter = GapAdapter(4)
    adapter.fit("covariance", scale=1.0, text=text, target=target)
    assert torch.allclose(adapter.root.T @ adapter.root, (target - text).T.cov(), atol=1e-6)


def test_a_classifier_of_texts_is_right_about_pictures_and_more_so_without_the_gap() -> None:
    plain, shifted = accuracy(learned()), accuracy(learned(gap="mean", pairs="2:60"))
    assert plain > 0.5 and shifted > 0.85 and shifted > plain
    found = learned(hidden=8).judge(TOWERS, Judged(source="1:40", modality="text"))
    assert found["head"] > 0.9 and found["rows"] == 40 and found["majority"] == 0.25


def test_the_same_fields_give_the_same_head_and_a_folder_gives_it_back(tmp_path: Path) -> None:
    head = learned(gap="linear", pairs="2:60")
    again = learned(gap="linear", pairs="2:60").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in head.state_dict().items())
    write_head(head, tmp_path / "head")
    read = read_head(tmp_path / "head")
    assert isinstance(read, Close) and read.config == head.config and read.about == head.about
    z = TOWERS.rows("1:9", ("image",)).z["image"]
    assert torch.equal(read.scores(z, "image"), head.scores(z, "image"))
    with pytest.raises(HeadError, match="is there already"):
        write_head(head, tmp_path / "head")
    (tmp_path / "head" / "head.safetensors").write_bytes(b"no")
    with pytest.raises(HeadError, match="head.safetensors is damaged"):
        read_head(tmp_path / "head")


def test_a_json_of_texts_takes_the_place_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text('{"kind 0": ["kind 0", "a kind 0"], "kind 1": ["kind 1"]}', encoding="utf-8")
    head = learned(source=None, captions=path)
    assert head.about.classes == ("kind 0", "kind 1")
    path.write_text('["a {}"]', encoding="utf-8")
    with pytest.raises(HeadError, match="expected a map from class to texts"):
        learned(source=None, captions=path)


def test_mistakes_are_named() -> None:
    with pytest.raises(HeadError, match="all 80 texts are of class 'same'"):
        learned(label="one")
    with pytest.raises(HeadError, match="has no field 'kinds'. Did you mean 'kind'"):
        learned(label="kinds")
    with pytest.raises(HeadError, match="no row of '0:80' has kind = kind 9"):
        learned(where={"kind": "kind 9"})
    with pytest.raises(HeadError, match="measured on 8 pairs; 16 are the least"):
        learned(gap="mean", pairs="2:8")
    with pytest.raises(ConfigError, match="give either source or captions"):
        parse(Described, {"head": {"type": "close"}})
    with pytest.raises(ConfigError, match="give both gap and pairs"):
        parse(Described, {"head": {"type": "close", "source": "a", "gap": "mean"}})
    head = learned(gap="mean", pairs="2:60")
    with pytest.raises(HeadError, match="made for image, not for audio"):
        head.judge(TOWERS, Judged(source="1:40", modality="audio"))
    with pytest.raises(HeadError, match="whose image tower is not that of 'made up'"):
        head.judge(MadeUpTowers({"text": "t", "image": "other"}), Judged(source="1:40"))
    few = learned(where={"kind": "kind 1"}, label="caption")
    with pytest.raises(HeadError, match="does not know class 'kind 0'"):
        few.judge(TOWERS, Judged(source="1:40", label="kind"))
