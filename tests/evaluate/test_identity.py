"""The digests of towers: the same wherever the tower is, another for another tower."""

from __future__ import annotations

from dataclasses import replace

import torch

from mmcontrast.evaluate.identity import towers_sha256
from mmcontrast.model import Model, ModelConfig
from mmcontrast.specs import ClipLength
from tests import tiny


def built(seed: int = 0, **towers: object) -> Model:
    torch.manual_seed(seed)
    return Model(ModelConfig(dim=8, towers=tiny.TOWERS | towers))


def test_a_tower_has_one_digest_alone_and_among_others() -> None:
    whole = built()
    alone = Model(whole.config.limited(("audio",)))
    alone.load_state_dict({k: v for k, v in whole.state_dict().items() if ".image." not in k and ".text." not in k})
    assert towers_sha256(alone) == {"audio": towers_sha256(whole)["audio"]}


def test_another_weight_or_input_gives_that_tower_another_digest() -> None:
    before, other = towers_sha256(built()), built()
    with torch.no_grad():
        next(other.towers["text"].parameters()).flatten()[0].add_(1e-3)
    repeated = built(audio=replace(tiny.TOWERS["audio"], length=ClipLength(short="repeat")))
    repeated.load_state_dict(built().state_dict())
    for changed, model in (("text", other), ("audio", repeated)):
        after = towers_sha256(model)
        assert {name for name in before if before[name] != after[name]} == {changed}
