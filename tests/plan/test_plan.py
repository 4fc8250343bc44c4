"""The planner: sizes that can be counted by hand, and the command as its user runs it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from mmcontrast.cli import main
from mmcontrast.made_up import made_up_embeddings, token_shapes, without_memory
from mmcontrast.model import Model, modality_of
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.optim.adamw import AdamW
from mmcontrast.plan.measure import kept_bytes, loss_bytes, optimizer_bytes, per_row
from mmcontrast.plan.memory import Plan, held_by, plan
from mmcontrast.run import build_objectives, load_run
from mmcontrast.tiles.tiling import TilesConfig
from mmcontrast.tuning.fields import LoRAConfig, TowerTraining
from mmcontrast.types import Embedded, Embeddings
from tests import tiny
from tests.contracts.objective_examples import OBJECTIVE_EXAMPLES

CONFIG = Path("configs/smoke/open_clip_vit.yaml")


def test_kept_bytes_are_inputs_and_activations_without_weights() -> None:
    layers = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    rows = torch.zeros(7, 10)
    # The first matrix keeps its input (7 x 10), ReLU its result (7 x 20), which the second matrix shares.
    assert kept_bytes(lambda: layers(rows), layers) == 4 * (7 * 10 + 7 * 20)


def test_adamw_keeps_two_floats_a_parameter_and_a_count() -> None:
    built = tiny.model()
    count = sum(parameter.numel() for parameter in built.parameters())
    assert optimizer_bytes(built, AdamW(AdamW.Config())) == 8 * count + 4 * len(list(built.parameters()))


@pytest.mark.parametrize("modality", ["image", "text"])
def test_shapes_alone_tell_what_a_real_model_keeps(modality: str) -> None:
    run = load_run(CONFIG)
    spec, real = run.model.specs()[modality], Model(run.model)
    with torch.device("meta"):
        shapes = Model(run.model)
    with without_memory(shapes):
        found = per_row(shapes, modality, spec, half=False)
    assert found == per_row(real, modality, spec, half=False) and found.activations > 0


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_is_measured_as_on_real_weights(name: str) -> None:
    run = load_run(Path("configs/smoke/quickstart_tiny.yaml"), [f"optimizer={{type: {name}}}"])
    real = Model(run.model, build_objectives(run))
    assert plan(run, world_size=1).held[0].optimizer == optimizer_bytes(real, OPTIMIZERS.build(run.optimizer)) > 0


def planned(**training: TowerTraining) -> Plan:
    run = load_run(CONFIG, ["data.batch_rows=8", "step=plain"])
    return plan(replace(run, model=replace(run.model, training=training)), world_size=1)


def test_what_is_frozen_costs_no_activations_gradients_or_optimizer() -> None:
    whole, part = planned(), planned(image=TowerTraining(frozen=True))
    image = whole.parameters["towers.image"]
    assert whole.trainable - part.trainable == image and part.parameters == whole.parameters
    assert part.columns["image"].activations == 0 < whole.columns["image"].activations
    assert part.held[0].gradients == 4 * part.trainable
    assert part.held[0].optimizer == pytest.approx(8 * part.trainable, rel=1e-3)
    unlocked = planned(image=TowerTraining(frozen=True, unlocked_blocks=3))  # of twelve
    assert unlocked.columns["image"].activations == pytest.approx(whole.columns["image"].activations / 4, rel=0.1)
    adapted = planned(text=TowerTraining(lora=LoRAConfig(rank=4)))
    assert adapted.parameters["towers.text"] > whole.parameters["towers.text"]
    assert adapted.trainable < image + 0.05 * whole.parameters["towers.text"]


def test_checkpointing_keeps_what_enters_each_block_and_one_block_at_a_time() -> None:
    whole, part = planned(), planned(image=TowerTraining(checkpointing=True))
    before, after = whole.columns["image"].activations, part.columns["image"]
    assert after.activations < 0.25 * before
    assert after.activations + 12 * after.recomputed == pytest.approx(before, rel=0.01)
    assert part.row == sum(column.activations for column in part.columns.values()) + after.recomputed


def test_zero_stages_share_what_they_name() -> None:
    held = {
        name: held_by(name, parameters=1000, trainable=800, optimizer=6400, world_size=8)
        for name in ("ddp", "ZeRO 1", "ZeRO 2", "ZeRO 3")
    }
    assert (held["ddp"].weights, held["ddp"].gradients, held["ddp"].optimizer) == (4000, 3200, 6400)
    copy = 400  # DeepSpeed's own copy of the 100 weights that a rank updates
    assert (held["ZeRO 1"].gradients, held["ZeRO 1"].optimizer) == (3200, 800 + copy)
    assert (held["ZeRO 2"].weights, held["ZeRO 2"].gradients) == (4000, 400)
    assert held["ZeRO 3"].weights == 4000 // 8  # frozen ones as well


def test_a_loss_in_tiles_is_flat_and_one_at_once_grows_with_the_square() -> None:
    config = InfoNCE.Config(tiles=TilesConfig(from_rows=1, rows=64, columns=64, keep_mb=0))
    tiled, whole = OBJECTIVES.build(config), OBJECTIVES.build(replace(config, tiles=TilesConfig(from_rows=10**9)))
    make = partial(made_up_embeddings, tiled.needs(), dim=8, specs={}, tokens={})
    of = partial(loss_bytes, dim=8, made_up=lambda rows: make(rows=rows))
    sizes = [of(tiled, local_rows=1024, world_size=world_size) for world_size in (2, 64)]
    assert sizes[0] == sizes[1]
    small, large = (of(whole, local_rows=rows, world_size=1) for rows in (1024, 2048))
    assert large / small == pytest.approx(4, rel=0.02)
    # at least both directions' log softmax, and as much again for gradients
    assert small >= 4 * 1024 * 1024 * 4


@pytest.mark.parametrize("name", OBJECTIVE_EXAMPLES)
def test_every_objective_is_measured_on_made_up_rows_of_what_it_reads(name: str) -> None:
    built = tiny.model(name)
    (objective,) = built.objectives.values()
    specs = {column: built.config.specs()[modality_of(column)] for column in built.needs.columns}
    tokens = token_shapes(built, specs)
    assert set(tokens) == set(objective.needs().tokens)
    # Teachers of tests are 6 wide, models 8: with a teacher only its own width will do.
    taught = objective.needs().teacher

    def made_up(rows: int) -> Embeddings:
        found = made_up_embeddings(objective.needs(), rows=rows, dim=8, specs=specs, tokens=tokens)
        narrow = {each: Embedded(found.taught[each].z[:, :6], found.taught[each].present) for each in taught}
        return replace(found, taught=narrow)

    assert loss_bytes(objective, dim=8, local_rows=64, world_size=2, made_up=made_up) > 0


def test_the_command_prints_every_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(CONFIG), "data.batch_rows=64", "--gpus", "8", "--memory-gb", "1"]) == 0
    printed = capsys.readouterr().out
    assert "8 rank(s) x 8 rows = 64 rows an update; 2 chunks of at most 4" in printed
    assert all(engine in printed for engine in ("ddp *", "ZeRO 1", "ZeRO 2", "ZeRO 3"))


def test_a_batch_that_does_not_divide_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(CONFIG), "--gpus", "3"]) == 2
    assert "8 rows do not divide among 3 ranks" in capsys.readouterr().err
    assert main(["plan", str(CONFIG), "--gpus", "0"]) == 2
