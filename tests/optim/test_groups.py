"""Which parameters share rates: two groups as a rule; by tower and by depth when the config asks; every one once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.cli import main
from mmcontrast.config import dump
from mmcontrast.model import Model, ModelConfig
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.groups import Rates, TowerRates, groups_in_words, parameter_groups
from mmcontrast.towers.timm_image import TimmImage
from tests import tiny
from tests.engines.test_replicated import build, updates
from tests.small_run import run_of

LAYERED = Rates(layer_decay=0.5, towers={"text": TowerRates(lr=1e-4, weight_decay=0.01, layer_decay=1.0)})


def rates_by_name(model: Model, rates: Rates) -> dict[str, tuple[float, float]]:
    return {name: (group.lr, group.weight_decay) for group in parameter_groups(model, rates) for name in group.names}


def test_as_a_rule_matrices_decay_and_nothing_else_differs() -> None:
    model = tiny.model()
    matrices, others = parameter_groups(model, Rates(lr=1e-3, weight_decay=0.1))
    assert (matrices.lr, matrices.weight_decay, others.lr, others.weight_decay) == (1e-3, 0.1, 1e-3, 0.0)
    assert all(parameter.ndim >= 2 for parameter in matrices.parameters)
    assert all(parameter.ndim < 2 for parameter in others.parameters)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
@pytest.mark.parametrize("frozen", [False, True])
def test_every_trainable_parameter_is_in_one_group(name: str, frozen: bool) -> None:
    model = tiny.model()
    if frozen:
        model.towers["image"].requires_grad_(False)
    optimizer = OPTIMIZERS.build(OPTIMIZERS.get(name).Config(layer_decay=0.5, towers=LAYERED.towers))
    found = [id(each) for group in optimizer.build(model).param_groups for each in group["params"]]
    assert sorted(found) == sorted(id(each) for each in model.parameters() if each.requires_grad)


def test_each_block_below_the_head_learns_more_slowly() -> None:
    found = rates_by_name(tiny.model(), LAYERED)
    # Two blocks in the image tower: stem at depth 0, head at 3.
    assert found["towers.image.stem.0.weight"] == (5e-4 * 0.5**3, 0.2)
    assert found["towers.image.stages.0.conv1.weight"] == (5e-4 * 0.5**2, 0.2)
    assert found["towers.image.stages.1.norm2.bias"] == (5e-4 * 0.5, 0.0)
    assert found["towers.audio.pool.1.weight"] == found["heads.image.layer.weight"] == (5e-4, 0.2)
    text = {rates for name, rates in found.items() if name.partition(".")[2].startswith("text.")}
    assert text == {(1e-4, 0.01), (1e-4, 0.0)}
    assert {rates for name, rates in found.items() if name.startswith("objectives.")} == {(5e-4, 0.0)}


def test_layer_decay_is_timms() -> None:
    from timm.optim import param_groups_layer_decay

    tower = TimmImage.Config(name="vit_tiny_patch16_224", size=32)
    model = Model(ModelConfig(dim=4, towers={"image": tower}))
    inner: Any = model.towers["image"].inner
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(inner, weight_decay=0.2, layer_decay=0.8)
        for parameter in group["params"]
    }
    found = rates_by_name(model, Rates(lr=1.0, layer_decay=0.8))
    assert len(expected) > 100
    for name, (scale, weight_decay) in expected.items():
        # timm counts from the last block, ours and BEiT's from what follows it: the last norm stands with the head.
        steps = 0 if ".inner.norm." in name else 1
        assert found[name] == (pytest.approx(scale * 0.8**steps), weight_decay), name


def test_rates_of_a_tower_reach_its_weights_alone() -> None:
    slow = OPTIMIZERS.get("adamw").Config(lr=1e-2, towers={"image": TowerRates(lr=1e-9)})
    usual, engine = build("local"), build("local", slow)
    for each in (usual, engine):
        updates(each, "plain", range(1))
    start, found, expected = tiny.model().state_dict(), engine.model_state(), usual.model_state()
    for name, value in found.items():
        if name.partition(".")[2].startswith("image."):
            torch.testing.assert_close(value, start[name], atol=1e-7, rtol=0, msg=name)
        else:
            assert torch.equal(value, expected[name]), name


def test_groups_are_said_in_words() -> None:
    model = tiny.model()
    audio, image, text, other = groups_in_words(model, parameter_groups(model, LAYERED))
    assert audio.startswith("audio: ")
    assert image == (
        "image: 7,280 trained parameters, learning rate 6.25e-05, 0.000125, 0.00025, 0.0005 from the inputs up, "
        "weight decay 0.2 on 7,168"
    )
    assert text == "text: 4,720 trained parameters, learning rate 0.0001, weight decay 0.01 on 4,480"
    assert other == "other: 3 trained parameters, learning rate 0.0005, no decay"


def test_check_says_the_groups_and_refuses_what_cannot_be(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(dump(run_of(sets, tmp_path / "run", schedule={"type": "wsd", "warmup_steps": 2})))
    assert main(["check", str(config), "optimizer.layer_decay=0.5"]) == 0
    said = capsys.readouterr().out
    assert "optimizer adamw, schedule wsd: learning rate 0.005 at update 1, 0.01 at update 2, 0.00293 at" in said
    assert "learning rate 0.00125, 0.0025, 0.005, 0.01 from the inputs up" in said
    assert main(["check", str(config), "optimizer.towers.imag.lr=1e-3"]) == 2
    assert (
        "optimizer.towers.imag: model.towers has no tower for imag. Did you mean 'image'?" in capsys.readouterr().err
    )
    assert main(["check", str(config), "optimizer.type=muon", "engine.type=deepspeed"]) == 2
    assert "'muon' looks at each weight as a whole, but engine 'deepspeed'" in capsys.readouterr().err
    assert main(["check", str(config), "optimizer.layer_decay=1.5"]) == 2
    assert "optimizer.layer_decay: expected" in capsys.readouterr().err
