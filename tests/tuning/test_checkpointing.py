"""Activations that are computed a second time: the same gradients, dropout included, from less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.errors import ConfigError, RunFolderError
from mmcontrast.plan.measure import kept_bytes
from mmcontrast.run import Run
from mmcontrast.run_folder import open_run_folder
from mmcontrast.steps.gradcache import GradCache
from mmcontrast.steps.plain import Plain
from mmcontrast.towers import TOWERS
from mmcontrast.tuning.fields import TowerTraining
from tests import tiny
from tests.contracts.examples import inputs, tower_config
from tests.small_run import run_of, tree

# What keeps the towers of the examples from checkpointing.
WITHOUT = {"ngram_text": "is not made of blocks"}


def with_draws(name: str, folder: Path) -> torch.nn.Module:
    """The example tower, drawing random numbers where it can: dropout, masking, stochastic depth."""
    from dataclasses import fields, replace

    config = tower_config(name, folder / "model")
    wanted: dict[str, Any] = {"dropout": 0.3, "drop_path": 0.3}
    if name != "timm_image":  # its example is a ResNet, which has no patches
        wanted["patch_dropout"] = 0.3
    own = {each.name for each in fields(config)}
    torch.manual_seed(0)
    return TOWERS.build(replace(config, **{key: value for key, value in wanted.items() if key in own})).train()


@pytest.mark.parametrize("name", [name for name in TOWERS.names() if name not in WITHOUT])
def test_gradients_are_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    tower: Any = with_draws(name, tmp_path)
    values = inputs(tower.config, 3)
    found, kept = [], []
    for checkpointing in (False, True):
        if checkpointing:
            tower.checkpoint_activations()
        torch.manual_seed(1)
        kept.append(kept_bytes(lambda: tower(values).pooled, tower))
        torch.manual_seed(1)
        tower.zero_grad()
        tower(values).pooled.square().sum().backward()
        found.append(
            {
                each: parameter.grad.clone()
                for each, parameter in tower.named_parameters()
                if parameter.grad is not None
            }
        )
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(value, found[1][each]) for each, value in found[0].items())
    assert kept[1] < kept[0]


def test_a_cached_step_with_checkpointing_and_dropout_has_plain_gradients() -> None:
    def gradients(kind: Any, *, checkpointing: bool) -> dict[str, torch.Tensor]:
        training = {name: TowerTraining(checkpointing=checkpointing) for name in tiny.TOWERS}
        model = tiny.model(training=training).train()
        torch.manual_seed(2)
        kind(engine=tiny.engine(model))(tiny.batch())
        return tiny.gradients(model)

    def cached(engine: Any) -> GradCache:
        return GradCache(GradCache.Config(chunk_rows=12), engine=engine)  # one chunk: the same draws as plain

    expected = gradients(lambda engine: Plain(Plain.Config(), engine=engine), checkpointing=False)
    for kind in (lambda engine: Plain(Plain.Config(), engine=engine), cached):
        for name, value in gradients(kind, checkpointing=True).items():
            torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_tower_that_cannot_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"checkpointing: .*{WITHOUT[name]}"):
        with_draws(name, tmp_path).checkpoint_activations()  # type: ignore[operator]


def test_open_clips_resnets_cannot() -> None:
    with torch.device("meta"):
        tower = TOWERS.build(TOWERS.get("open_clip_image").Config(name="RN50"))
    with pytest.raises(ConfigError, match="checkpointing: open_clip does not offer it for 'RN50'"):
        tower.checkpoint_activations()


def test_a_run_may_go_on_with_checkpointing_but_not_with_less_trained(sets: dict[str, str], tmp_path: Path) -> None:
    def run(**training: Any) -> Run:
        return run_of(sets, tmp_path, model={**tree(sets, tmp_path)["model"], "training": training})

    open_run_folder(run())
    open_run_folder(run(text={"checkpointing": True, "compile": True}))
    with pytest.raises(RunFolderError, match="model.training.text.frozen: False there, True here"):
        open_run_folder(run(text={"frozen": True}))
