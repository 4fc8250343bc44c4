"""The plan of a run: bytes on each rank under each engine, and the batch's arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, unset_fake_temporarily

from mmcontrast.errors import ConfigError
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.made_up import made_up_embeddings, token_shapes, without_memory
from mmcontrast.model import Model, ModelConfig, modality_of, spaces_of
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.plan.measure import FLOAT, PerRow, loss_bytes, optimizer_bytes, per_row
from mmcontrast.run import Run, build_objectives
from mmcontrast.specs import InputSpec

ENGINES = ("ddp", "ZeRO 1", "ZeRO 2", "ZeRO 3")


@dataclass(frozen=True)
class Held:
    """Bytes on each rank that do not depend on the batch, under one engine."""

    engine: str
    weights: int
    gradients: int
    optimizer: int  # its states, and the average of the weights

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class Plan:
    """What :func:`plan` found; bytes are of one rank."""

    world_size: int
    local_rows: int
    graph_rows: int  # rows that are in memory with their graph at a time
    parameters: dict[str, int]  # part -> count
    trainable: int
    columns: dict[str, PerRow]
    held: list[Held]  # one an engine
    chosen: str  # the engine of the config
    loss: dict[str, int]  # objective -> bytes
    embeddings: int  # of the rank's rows, with gradients; tokens too where a cached step keeps them
    casts: int  # half-precision copies of the weights while towers run
    cached: bool  # whether the step computes its loss without the towers' graphs

    @property
    def inputs(self) -> int:
        """Bytes of the rank's batch."""
        return self.local_rows * sum(column.inputs for column in self.columns.values())

    @property
    def activations(self) -> int:
        """Bytes that towers keep for backward."""
        return self.graph_rows * self.row

    @property
    def row(self) -> int:
        """Bytes of a row with its graph in every tower; backward computes one block again at a time."""
        columns = self.columns.values()
        return sum(column.activations for column in columns) + max(column.recomputed for column in columns)

    @property
    def batch(self) -> int:
        """Everything that comes with a batch, at the worst moment.

        A cached step's towers keep nothing while the loss is computed; any other's graphs and loss are there at once.
        """
        losses = sum(self.loss.values())
        towers = self.activations + self.casts
        return self.inputs + self.embeddings + (max(towers, losses) if self.cached else towers + losses)

    def largest_graph_rows(self, held: Held, memory: int) -> int:
        """Rows with their graph that would fit in ``memory`` bytes beside the rest."""
        losses = 0 if self.cached else sum(self.loss.values())
        room = memory - held.total - self.inputs - self.embeddings - self.casts - losses
        return max(room // max(self.row, 1), 0)


def held_by(engine: str, *, parameters: int, trainable: int, optimizer: int, world_size: int) -> Held:
    """Weights, gradients and optimizer states under an engine, all float32.

    ZeRO stage 1 shares optimizer states among ranks, 2 gradients too, 3 all weights too, frozen ones included; and
    DeepSpeed keeps one more float32 copy of the weights that a rank updates.

    Source: Rajbhandari et al. 2019, arXiv:1910.02054, section 5.
    """
    weights, gradients = parameters * FLOAT, trainable * FLOAT
    if engine == "ddp":
        return Held(engine, weights, gradients, optimizer)
    stage = int(engine[-1])
    share = -(-trainable // world_size)
    return Held(
        engine,
        weights if stage < 3 else -(-parameters // world_size) * FLOAT,
        gradients if stage < 2 else share * FLOAT,
        -(-optimizer // world_size) + share * FLOAT,
    )


def graph_rows(run: Run, local_rows: int) -> int:
    """Rows of a rank that a step holds with their graph at a time."""
    limits = {"gradcache": "chunk_rows", "accumulate": "micro_rows"}
    field = limits.get(run.step.registry_name)
    return local_rows if field is None else min(getattr(run.step, field), local_rows)


def plan(run: Run, *, world_size: int) -> Plan:
    """Measure the run's model, building shapes alone, and reckon what a rank of ``world_size`` holds.

    Raises:
        ConfigError: the batch does not divide among the ranks.
    """
    if run.data.batch_rows % world_size:
        raise ConfigError(f"data.batch_rows: {run.data.batch_rows} rows do not divide among {world_size} ranks.")
    local_rows = run.data.batch_rows // world_size
    with torch.device("meta"):
        model = Model(run.model, build_objectives(run), combine=run.combine)
    half = run.engine.precision != "fp32"
    specs = run.column_specs(model.needs)
    with without_memory(model):
        columns = {name: per_row(model, name, spec, half=half) for name, spec in specs.items()}
        tokens = token_shapes(model, specs)
        optimizer = optimizer_bytes_of(run, model)
    columns |= recomputing(run.model, columns, specs, half=half)
    parameters = {f"towers.{name}": _count(tower) for name, tower in model.towers.items()}
    parameters |= {"heads": _count(model.heads), "objectives": _count(model.objectives)}
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    optimizer += 0 if run.ema is None else trainable * FLOAT
    total = sum(parameters.values())
    stage = "ddp" if run.engine.registry_name != "deepspeed" else f"ZeRO {run.engine.stage}"
    losses = {}
    towers: dict[str, Any] = dict(model.towers.items())
    dim = run.model.dim
    # A loss runs on real rows; the teacher's embeddings are taken to be as wide as the model's.
    spaces = spaces_of(GEOMETRIES.build(run.model.geometry), dim, towers, teacher_dim=dim)
    for name, objective in build_objectives(run).items():
        objective.attach(spaces)
        make = partial(made_up_embeddings, objective.needs(), dim=dim, specs=specs, tokens=tokens)
        losses[name] = loss_bytes(
            objective, local_rows=local_rows, world_size=world_size, dim=dim,
            made_up=lambda rows, make=make: make(rows=rows),  # type: ignore[misc]
        )  # fmt: skip
    cached = run.step.registry_name == "gradcache"
    # A cached step keeps the tokens of all rows, in the place of their graph.
    floats = dim * len(columns) + (sum(length * width for length, width in tokens.values()) if cached else 0)
    return Plan(
        world_size=world_size,
        local_rows=local_rows,
        graph_rows=graph_rows(run, local_rows),
        parameters=parameters,
        trainable=trainable,
        columns=columns,
        held=[
            held_by(name, parameters=total, trainable=trainable, optimizer=optimizer, world_size=world_size)
            for name in ENGINES
        ],
        chosen=stage,
        loss=losses,
        embeddings=2 * local_rows * floats * FLOAT,
        casts=2 * max((count for name, count in parameters.items() if name.startswith("towers.")), default=0)
        if half
        else 0,
        cached=cached,
    )


def optimizer_bytes_of(run: Run, model: Model) -> int:
    """Bytes of the optimizer's states; one that looks at numbers, as Muon does, is measured on real weights."""
    optimizer = OPTIMIZERS.build(run.optimizer)
    try:
        return optimizer_bytes(model, optimizer)
    except DataDependentOutputException:
        with unset_fake_temporarily():
            return optimizer_bytes(Model(run.model, build_objectives(run), combine=run.combine), optimizer)


def recomputing(
    config: ModelConfig, columns: dict[str, PerRow], specs: dict[str, InputSpec], *, half: bool
) -> dict[str, PerRow]:
    """Columns whose tower checkpoints, with an even share of what its blocks would have kept otherwise."""
    chosen = {name for name, fields in config.training.items() if fields.checkpointing}
    if not chosen:
        return {}
    training = {name: replace(fields, checkpointing=False) for name, fields in config.training.items()}
    with torch.device("meta"):
        keeping = Model(replace(config, training=training))
    found = {}
    with without_memory(keeping):
        for name, spec in specs.items():
            if modality_of(name) in chosen:
                tower: Any = keeping.towers[modality_of(name)]
                whole = per_row(keeping, name, spec, half=half).activations
                share = max(whole - columns[name].activations, 0) // len(tower.layout().blocks)
                found[name] = replace(columns[name], recomputed=share)
    return found


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
