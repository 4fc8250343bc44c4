"""SPRC: its loss in plain loops, gradients that leave the tower alone, a gain over the sum, towers that cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.config import parse
from mmcontrast.downstream.base import Judged, Said
from mmcontrast.downstream.folder import Described, read_head, write_head
from mmcontrast.downstream.sprc import SPRC
from mmcontrast.errors import ConfigError, HeadError
from mmcontrast.towers.ngram_text import NgramText
from tests.downstream.made_up import DIM, MadeUpTowers, ReadTowers

TOWERS = ReadTowers()
ENCODER = TOWERS.embedder.encoder


def learned(towers: MadeUpTowers = TOWERS, **fields: Any) -> SPRC:
    chosen = {
        "source": "0:60", "keep": "kind", "steps": 60, "batch_rows": 32, "dropout": 0.0, "lr": 3e-3, "hidden": 32,
        "prompts": 4, "layers": 1, **fields,
    }  # fmt: skip
    return SPRC.learn(SPRC.Config(**chosen), towers)


def test_the_loss_is_three_terms_over_the_batchs_targets() -> None:
    head = learned(steps=2, relative=0.3, alignment=0.7)
    texts = ["redder", "with a dog", "redder and smaller"]
    generator = torch.Generator().manual_seed(0)
    reference, target = normalize(torch.randn(2, 3, DIM, generator=generator), dim=-1)
    ids, names = ENCODER.stack("text", texts), [4, 9, 4]
    found = head.loss(ENCODER.model, reference, ids, target, torch.tensor(names))

    tokens = ENCODER.model.towers["text"](ids)
    prompts = head.writer(reference, tokens.tokens, tokens.token_mask)
    total, scale = 0.0, math.exp(float(head.logit_scale))
    for weight, before in ((1.0, prompts), (0.3, head.shared.expand(3, -1, -1))):
        for row in range(3):
            query = ENCODER.model.encode_prompted(ids[row : row + 1], before[row : row + 1])[0]
            keys = [key for key in range(3) if key == row or names[key] != names[row]]
            logits = {key: scale * float(query @ target[key]) for key in keys}
            total += weight * (math.log(sum(math.exp(each) for each in logits.values())) - logits[row]) / 3
    for row in range(3):
        apart = prompts[row].mean(dim=0) - head.shared.mean(dim=0)
        total += 0.7 * float(apart.square().mean()) / 3
    assert float(found) == pytest.approx(total, rel=1e-4)


def test_it_beats_the_sum_leaves_the_tower_alone_and_a_folder_gives_it_back(tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in ENCODER.model.state_dict().items()}
    head = learned()
    assert all(torch.equal(value, before[name]) for name, value in ENCODER.model.state_dict().items())
    assert all(parameter.grad is None for parameter in ENCODER.model.parameters())
    found = head.judge(TOWERS, Judged(source="3:60"))
    assert found["sprc R@1"] > found["sum R@1"] + 0.02 and found["sprc R@5"] > found["sum R@5"] + 0.1
    write_head(head, tmp_path / "head")
    read = read_head(tmp_path / "head")
    assert read.about == head.about and isinstance(read, SPRC)
    z = TOWERS.rows("1:3", ("image",)).z["image"]
    said = Said(["kind 1", "kind 2, number 3", ""], z, ENCODER)
    assert torch.equal(read.composed(z, said), head.composed(z, said))
    assert torch.equal(learned().composed(z, said), head.composed(z, said)), "the same fields give the same weights"
    alone = head.composed(z[:1], Said(["kind 1"], z[:1], ENCODER))
    assert torch.allclose(alone[0], head.composed(z, said)[0], atol=1e-5), "padding changes nothing"


def test_towers_without_words_and_fields_without_sense_are_refused() -> None:
    towers = MadeUpTowers(text=NgramText.Config(width=16, buckets=64))
    with pytest.raises(HeadError, match="'ngram_text' reads none; hugging_face_text, open_clip_text, text_trans"):
        learned(towers)
    with pytest.raises(ConfigError, match="give triplets or keep"):
        parse(Described, {"head": {"type": "sprc", "source": "a", "triplets": "b", "keep": "c"}})
    with pytest.raises(ConfigError, match="hidden: 200 "):
        parse(Described, {"head": {"type": "sprc", "source": "a", "hidden": 200}})
