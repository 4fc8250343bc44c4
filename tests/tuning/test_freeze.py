"""What is frozen gets no gradient, no optimizer state and no backward; what is unlocked is open_clip's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.errors import ConfigError
from mmcontrast.model import Model, ModelConfig
from mmcontrast.steps.gradcache import GradCache
from mmcontrast.steps.plain import Plain
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Tower
from mmcontrast.tuning.fields import TowerTraining
from mmcontrast.tuning.freeze import freeze
from tests import tiny
from tests.contracts.examples import inputs, tower_config


def built(name: str, folder: Path) -> Tower:
    torch.manual_seed(0)
    return TOWERS.build(tower_config(name, folder / "model"))


def trained(module: torch.nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def is_part(name: str, module: torch.nn.Module, names: list[str]) -> bool:
    inside = {f"{name}.{each}" for each, _ in module.named_parameters()}
    return bool(inside) and inside <= set(names)


@pytest.mark.parametrize("name", TOWERS.names())
def test_the_layout_names_every_parameter_once_from_input_to_output(name: str, tmp_path: Path) -> None:
    tower = built(name, tmp_path)
    layout = tower.layout()
    names = [*layout.embeddings, *(each for block in layout.blocks for each in block), *layout.final]
    assert sorted(names) == sorted(each for each, _ in tower.named_parameters())
    assert layout.embeddings and all(layout.blocks)
    assert len(layout.blocks) >= (name != "ngram_text")


@pytest.mark.parametrize("name", [name for name in TOWERS.names() if name != "ngram_text"])
def test_no_gradient_flows_below_the_last_block_when_it_alone_is_unlocked(name: str, tmp_path: Path) -> None:
    tower = built(name, tmp_path).train()
    layout = tower.layout()
    freeze(tower, TowerTraining(frozen=True, unlocked_blocks=1))
    wanted = {*layout.blocks[-1], *layout.final}
    assert trained(tower) <= wanted
    below = next(module for name, module in tower.named_modules() if is_part(name, module, layout.embeddings))
    seen: list[bool] = []

    def note(module: object, args: object, output: Any) -> None:
        points = output[0] if isinstance(output, tuple) else output  # NaFlex's embedding also returns its grid
        seen.append(points.requires_grad)

    below.register_forward_hook(note)
    tower(inputs(tower.config, 4)).pooled.square().sum().backward()
    assert {each for each, value in tower.named_parameters() if value.grad is not None} == trained(tower)
    assert not any(seen)  # nothing is kept there for a backward


@pytest.mark.parametrize(("blocks", "groups"), [(0, 0), (1, 2), (2, 3)])
def test_unlocked_blocks_are_open_clips_groups(blocks: int, groups: int) -> None:
    image = TOWERS.build(TOWERS.get("open_clip_image").Config(name="ViT-S-32-alt", size=64))
    freeze(image, TowerTraining(frozen=True, unlocked_blocks=blocks))
    ours = trained(image.inner)
    image.inner.lock(unlocked_groups=groups)
    assert ours == trained(image.inner)
    assert bool(ours) == bool(blocks)


def test_parts_can_be_unlocked_by_name() -> None:
    tower = TOWERS.build(tiny.TOWERS["text"])
    freeze(tower, TowerTraining(frozen=True, unlocked=("norms", "embeddings")))
    assert trained(tower) == {
        "embed.table.weight", "positions", "norm.weight", "norm.bias",
        *(f"layers.0.norm{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")),
    }  # fmt: skip
    freeze(tower, TowerTraining(frozen=True))
    assert trained(tower) == set()


@pytest.mark.parametrize(
    ("tower", "fields", "message"),
    [
        ("text", {"frozen": True, "unlocked_blocks": 2}, "unlocked_blocks: 2, but 'text_transformer' has 1 blocks"),
        (
            "image",
            {"frozen": True, "unlocked": ("final",)},
            "unlocked: 'small_resnet' has no parameters that are final",
        ),
    ],
)
def test_what_a_tower_does_not_have_is_named(tower: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"model.training.{tower}.{message}"):
        Model(ModelConfig(dim=8, towers=tiny.TOWERS, training={tower: TowerTraining(**fields)}))


def test_parts_of_a_tower_that_is_not_frozen_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="set frozen: true"):
        TowerTraining(unlocked_blocks=1)


@pytest.mark.parametrize("step", ["plain", "gradcache"])
def test_a_frozen_tower_runs_without_a_graph_and_only_what_is_trained_moves(step: str) -> None:
    training = {
        "image": TowerTraining(frozen=True, frozen_head=True),
        "text": TowerTraining(frozen=True, unlocked_blocks=1),
    }
    model = tiny.model(training=training).train()
    image: Any = model.towers["image"]
    assert not image.training and model.towers["text"].training
    kept: list[bool] = []
    image.register_forward_hook(lambda module, args, output: kept.append(output.pooled.requires_grad))
    engine = tiny.engine(model)
    before = engine.model_state()
    config = Plain.Config() if step == "plain" else GradCache.Config(chunk_rows=5)
    (Plain if step == "plain" else GradCache)(config, engine=engine)(tiny.batch())
    assert kept == [False] * (1 if step == "plain" else 3)  # once a chunk, although chunks are embedded twice
    assert set(engine.gradients()) == trained(model)
    engine.step(lr_factor=1.0)
    after = engine.model_state()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved <= trained(model) and any(name.startswith("towers.text") for name in moved)
    slots = {name.partition("/")[2] for name in engine.training_state()} - {""}
    assert slots == trained(model)


def test_gradients_beside_a_frozen_tower_are_those_of_the_whole_model() -> None:
    def gradients(training: dict[str, TowerTraining]) -> dict[str, torch.Tensor]:
        model = tiny.model(training=training).eval()  # no draws: the frozen tower would not take part in them
        Plain(Plain.Config(), engine=tiny.engine(model))(tiny.batch())
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    whole = gradients({})
    part = gradients({"image": TowerTraining(frozen=True), "text": TowerTraining(frozen=True, unlocked_blocks=1)})
    assert part.keys() < whole.keys() and "heads.image.layer.weight" in part
    assert all(torch.equal(value, whole[name]) for name, value in part.items())
