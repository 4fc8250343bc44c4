"""Adapters as heads: learned from few rows, at least as good as the prompts, kept and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import Classifier, Judged
from mmcontrast.downstream.folder import read_head, write_head
from mmcontrast.errors import HeadError
from tests.downstream.made_up import MadeUpTowers

TOWERS = MadeUpTowers()
HEADS = [("tip_adapter", {}), ("tip_adapter", {"training": "keys"}), ("clip_adapter", {})]


def learned(name: str, **fields: Any) -> Classifier:
    cls = DOWNSTREAM.get(name)
    head: Classifier = cls.learn(
        cls.Config(**{"source": "0:40", "label": "kind", "shots": 4, "prompts": ("a {}",), **fields}), TOWERS
    )
    return head


@pytest.mark.parametrize(("name", "fields"), HEADS)
def test_an_adapter_is_deterministic_and_a_folder_gives_it_back(
    name: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    head = learned(name, **fields)
    write_head(head, tmp_path / "head")
    read = read_head(tmp_path / "head")
    assert isinstance(read, Classifier) and read.about == head.about
    z = TOWERS.rows("1:20", ("image",)).z["image"]
    again = learned(name, **fields).scores(z, "image")
    assert torch.equal(read.scores(z, "image"), head.scores(z, "image"))
    assert torch.equal(again, head.scores(z, "image"))
    found = read.judge(TOWERS, Judged(source="1:120"))
    assert found["head"] >= found["zero_shot"] and found["head"] > 0.6


@pytest.mark.parametrize("name", ["tip_adapter", "clip_adapter"])
def test_mistakes_are_named(name: str) -> None:
    with pytest.raises(HeadError, match="all 40 rows are of class 'same'"):
        learned(name, label="one")
    with pytest.raises(HeadError, match="made for image, not for text"):
        learned(name).judge(TOWERS, Judged(source="1:20", modality="text"))
