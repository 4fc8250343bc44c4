"""Towers, heads, geometry and objectives as one module: everything with weights, in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.combine import COMBINERS
from mmcontrast.combine.weighted_sum import WeightedSum
from mmcontrast.config import Count, Fraction, OneOf, config
from mmcontrast.copies import FrozenCopy, MomentumCopy
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.heads import HEADS
from mmcontrast.heads.linear import Linear
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.optim.groups import Place
from mmcontrast.specs import InputSpec
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Tower
from mmcontrast.towers.prompts import ReadsPrompts
from mmcontrast.tuning.apply import apply_training
from mmcontrast.tuning.compilation import compile_tower
from mmcontrast.tuning.fields import TowerTraining
from mmcontrast.tuning.freeze import rests
from mmcontrast.types import (
    Batch,
    Column,
    Embedded,
    Embeddings,
    Features,
    Needs,
    RowLosses,
    Terms,
    Tokens,
    Values,
    map_values,
)


@config
class ModelConfig:
    """One tower a modality, a head for each, and the space they share."""

    dim: Count = 256  # width of the shared embedding
    towers: dict[str, Annotated[Any, OneOf(TOWERS)]]  # modality -> tower
    heads: dict[str, Annotated[Any, OneOf(HEADS)]] = {}  # modality -> head; a linear one where none is named
    training: dict[str, TowerTraining] = {}  # modality -> what of its tower is trained; all of it where none is named
    geometry: Annotated[Any, OneOf(GEOMETRIES)] = Sphere.Config()
    momentum: Fraction = 0.996  # share that the momentum copy keeps of itself at each update (BYOL's start)

    def __post_init__(self) -> None:
        for modality, tower in self.towers.items():
            if tower is not None and tower.modality != modality:
                raise ValueError(
                    f"towers.{modality}: '{tower.registry_name}' encodes {tower.modality}, not {modality}."
                )
        GEOMETRIES.get(self.geometry.registry_name).check_dim(self.dim)
        for name, of in (("heads", self.heads), ("training", self.training)):
            for modality in of:
                if modality not in self.towers:
                    raise ValueError(f"{name}.{modality}: there is no tower for {modality}.")

    def limited(self, modalities: Collection[str]) -> ModelConfig:
        """The same model with some of its towers."""
        maps = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        fewer: dict[str, Any] = {
            name: {modality: value for modality, value in of.items() if modality in modalities}
            for name, of in maps.items()
            if isinstance(of, dict)
        }
        return dataclasses.replace(self, **fewer)  # type: ignore[type-var]

    def specs(self) -> dict[str, InputSpec]:
        """What each modality's tower asks of the loader."""
        return {modality: tower.input_spec() for modality, tower in self.towers.items()}


def modality_of(column: str) -> str:
    """The part of a column's name before the dot."""
    return column.partition(".")[0]


def spaces_of(geometry: Any, dim: int, towers: Mapping[str, Any], *, teacher_dim: int | None = None) -> Spaces:
    """What objectives are told of a model."""
    return Spaces(
        dim,
        {name: tower.width for name, tower in towers.items()},
        teacher_dim=teacher_dim,
        token_widths={name: tower.token_width for name, tower in towers.items()},
        similarity=geometry.similarity,
        curvature=geometry.curvature if geometry.curved else None,
    )


class Model(nn.Module):
    """``embed(batch)`` and ``loss(embeddings)``, both through :meth:`forward`, so that engines see every call."""

    def __init__(
        self,
        config: ModelConfig,
        objectives: dict[str, Any] | None = None,
        *,
        combine: Any = None,
        teacher: FrozenCopy | None = None,
    ) -> None:
        """Build every part with random weights.

        Args:
            objectives: name -> built :class:`Objective`; none for a model that only encodes.
            combine: config of how their losses become one; the sum if None.
            teacher: embeds what objectives ask of a teacher; its weights are no part of this model's state.
        """
        super().__init__()
        self.config = config
        self.autocast: torch.dtype | None = None  # precision of the towers' matrix products; engines set it
        self.towers = nn.ModuleDict({name: TOWERS.build(tower) for name, tower in sorted(config.towers.items())})
        self.heads = nn.ModuleDict(
            {
                name: HEADS.build(config.heads.get(name, Linear.Config()), width=tower.width, dim=config.dim)
                for name, tower in self.towers.items()
            }
        )
        for name, fields in config.training.items():
            apply_training(self.towers[name], self.heads[name], fields, where=f"model.training.{name}")
        self.resting = {name for name, tower in self.towers.items() if rests(tower)}
        self.geometry = GEOMETRIES.build(config.geometry)
        self.objectives = nn.ModuleDict(objectives or {})
        self.combiner = COMBINERS.build(combine or WeightedSum.Config(), names=list(self.objectives))
        self._teacher = (teacher,)  # in a tuple, out of the module's tree: no state, no optimizer
        self._seen: Embeddings | None = None
        towers: dict[str, Any] = dict(self.towers.items())
        spaces = spaces_of(self.geometry, config.dim, towers, teacher_dim=None if teacher is None else teacher.dim)
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            objective.attach(spaces)
        self.momentum: MomentumCopy | None = None
        if self.needs.momentum:
            self.momentum = MomentumCopy(self.towers, self.heads, self.geometry, dim=config.dim)
        self.train()

    def _apply(self, fn: Any, recurse: bool = True) -> Model:
        """Move the teacher along with everything else."""
        (teacher,) = self._teacher
        if teacher is not None:
            teacher._apply(fn)
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> Model:
        """Switch modes; a tower of which nothing is trained stays in evaluation mode."""
        super().train(mode)
        for name in self.resting:
            self.towers[name].train(False)
        return self

    def compile_towers(self) -> None:
        """Let torch compile the towers that ask for it, at their first call; names of weights stay as they are."""
        for name, fields in self.config.training.items():
            if fields.compile:
                compile_tower(self.towers[name])

    @property
    def needs(self) -> Needs:
        """Everything that the objectives read."""
        total = Needs(embeddings=())
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            total = total | objective.needs()
        return total

    def places(self) -> dict[str, Place]:
        """Where each parameter stands: its tower and its depth there; heads stand on top of their towers."""
        places = {name: Place(None, 0, 0) for name, _ in self.named_parameters()}
        for modality, tower in self.towers.items():
            assert isinstance(tower, Tower)
            layout = tower.layout()
            top = len(layout.blocks) + 1
            depths = [layout.embeddings, *layout.blocks, layout.final]
            depth_of = {name: depth for depth, names in enumerate(depths) for name in names}
            for name, _ in tower.named_parameters():
                places[f"towers.{modality}.{name}"] = Place(modality, depth_of[name], top)
            for name, _ in self.heads[modality].named_parameters():
                places[f"heads.{modality}.{name}"] = Place(modality, top, top)
        return places

    def forward(self, what: Literal["embed", "loss", "encode_resting"], value: Any) -> Any:
        """Dispatch: ``("embed", Batch) -> Embeddings``, ``("loss", Embeddings) -> Terms``, and so on."""
        calls: dict[str, Callable[[Any], Any]] = {
            "embed": self.embed,
            "loss": self.loss,
            "encode_resting": self.encode_resting,
        }
        return calls[what](value)

    def encode(self, modality: str, values: Values) -> Tensor:
        """Embed rows of one modality, all of them present: (B, ...) -> (B, D)."""
        return self._project(modality, self._features(modality, values))

    def encode_prompted(self, values: Tensor, prompts: Float[Tensor, "B K prompt_width"]) -> Tensor:
        """Embed texts with vectors in front of their words, to which gradients go back: (B, T) -> (B, D).

        The text tower is one that :class:`ReadsPrompts`.
        """
        tower = self.towers["text"]
        assert isinstance(tower, ReadsPrompts)
        return self._project("text", tower.prompted(values, prompts))

    def _features(self, modality: str, values: Values) -> Features:
        with torch.set_grad_enabled(torch.is_grad_enabled() and modality not in self.resting):
            return self.towers[modality](values)

    def _project(self, modality: str, features: Features) -> Tensor:
        return self.geometry.project(self.heads[modality](features.pooled))

    def embed(self, batch: Batch) -> Embeddings:
        """Embed each column that an objective reads, in sorted order, on its present rows alone."""
        needs = self.needs
        (teacher,) = self._teacher
        columns, taught, averaged = {}, {}, {}
        for name in needs.columns:
            column = batch.columns[name]
            modality = modality_of(name)
            with torch.autocast(column.present.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                if name in needs.embeddings or name in needs.tokens:
                    columns[name] = _embedded(column, self._features, self._project, keep_tokens=name in needs.tokens)
                if name in needs.teacher:
                    assert teacher is not None, "check() refuses a run that needs a teacher and names none"
                    taught[name] = _scattered(column, partial(teacher.encode, modality))
                if name in needs.momentum:
                    assert self.momentum is not None
                    averaged[name] = _embedded(
                        column, self.momentum.features, self.momentum.project, keep_tokens=name in needs.tokens
                    )
        inputs = {name: batch.columns[name] for name in needs.inputs}
        return Embeddings(columns, batch.labels, batch.keys, taught=taught, averaged=averaged, inputs=inputs)

    @torch.no_grad()
    def encode_resting(self, batch: Batch) -> Batch:
        """Put features in the place of what frozen towers would read, for a batch that is embedded more than once."""
        needs, columns = self.needs, dict(batch.columns)
        raw = {*needs.tokens, *needs.teacher, *needs.momentum, *needs.inputs}  # read in another way as well
        for name in needs.embeddings:
            column = batch.columns[name]
            if column.modality in self.resting and name not in raw:
                with torch.autocast(
                    column.present.device.type, dtype=self.autocast, enabled=self.autocast is not None
                ):
                    pooled = self._features(column.modality, _some(column)).pooled
                columns[name] = dataclasses.replace(column, values=pooled[: int(column.present.sum())], encoded=True)
        return dataclasses.replace(batch, columns=columns)

    def loss(self, embeddings: Embeddings) -> Terms:
        """Weighted sum of the objectives, each seeing only what it declared."""
        self._seen = embeddings.detached()  # for after_step; forward itself moves nothing
        losses: dict[str, Tensor] = {}
        scalars: dict[str, Tensor] = {}
        rows: list[tuple[float, RowLosses]] = []
        for name, objective in self.objectives.items():
            assert isinstance(objective, Objective)
            terms = objective(embeddings.limited(objective.needs()))
            rows += [] if terms.rows is None else [(objective.config.weight, terms.rows)]
            losses[name] = objective.config.weight * terms.loss
            scalars[f"loss/{name}"] = terms.loss.detach()
            scalars |= {f"{name}/{key}": value for key, value in terms.scalars.items()}
        whole = self.combiner(losses, [column.z for column in embeddings.columns.values()])
        scalars |= whole.scalars if len(losses) > 1 else {}
        return Terms(loss=whole.loss, scalars=scalars, rows=RowLosses.total(rows))

    def after_step(self) -> None:
        """Let objectives and the momentum copy move their state; call once an update, on every rank."""
        if self._seen is None:
            return
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            objective.after_step(self._seen.limited(objective.needs()))
        self.combiner.after_step()
        if self.momentum is not None:
            self.momentum.follow(self.towers, self.heads, self.geometry, keep=self.config.momentum)
        self._seen = None


def _embedded(
    column: Column,
    features_of: Callable[[str, Values], Features],
    project: Callable[[str, Features], Tensor],
    *,
    keep_tokens: bool,
) -> Embedded:
    """Embed a column's present rows, with the tokens of the tower if they are to be kept and there are any."""
    kept: list[Features] = []

    def encode(values: Values) -> Tensor:
        kept.append(Features(values) if column.encoded else features_of(column.modality, values))
        return project(column.modality, kept[0])

    embedded = _scattered(column, encode)
    (features,) = kept
    if not keep_tokens or features.tokens is None:
        return embedded
    real = features.token_mask
    if real is None:
        real = torch.ones(features.tokens.shape[:2], dtype=torch.bool, device=features.tokens.device)
    tokens = Tokens(_whole(features.tokens, column), _whole(real, column))
    return Embedded(embedded.z, embedded.present, tokens)


def _scattered(column: Column, encode: Callable[[Values], Tensor]) -> Embedded:
    """Encode a column's present rows; absent rows are zeros."""
    return Embedded(_whole(encode(_some(column)), column), column.present)


def _some(column: Column) -> Values:
    """A column's present rows, and one of zeros where there are none.

    It runs all the same and counts nothing: every rank must take the same path through the weights, or DDP and ZeRO
    wait for gradients that never come.
    """
    if column.present.any():
        return column.values
    return map_values(column.values, lambda tensor: tensor.new_zeros(1, *tensor.shape[1:]))


def _whole(values: Tensor, column: Column) -> Tensor:
    """Put present rows in their places among all; with none present, ``values`` is one row that counts nothing."""
    rows = column.present.nonzero().squeeze(1)
    if len(rows) == len(column.present):
        return values
    whole = values.new_zeros(len(column.present), *values.shape[1:])
    if len(rows):
        return whole.index_copy(0, rows, values)
    return whole.index_copy(0, rows.new_zeros(1), values & False if values.dtype == torch.bool else 0 * values)
