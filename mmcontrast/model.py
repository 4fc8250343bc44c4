"""Towers, heads, geometry and objectives as one module: everything with weights, in one place."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from mmcontrast.config import Count, OneOf, config
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.heads import HEADS
from mmcontrast.heads.linear import Linear
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.specs import InputSpec
from mmcontrast.towers import TOWERS
from mmcontrast.types import Batch, Column, Embedded, Embeddings, Needs, Terms, Values, map_values


@config
class ModelConfig:
    """One tower a modality, a head for each, and the space they share."""

    dim: Count = 256  # width of the shared embedding
    towers: dict[str, Annotated[Any, OneOf(TOWERS)]]  # modality -> tower
    heads: dict[str, Annotated[Any, OneOf(HEADS)]] = {}  # modality -> head; a linear one where none is named
    geometry: Annotated[Any, OneOf(GEOMETRIES)] = Sphere.Config()

    def __post_init__(self) -> None:
        for modality, tower in self.towers.items():
            if tower is not None and tower.modality != modality:
                raise ValueError(
                    f"towers.{modality}: '{tower.registry_name}' encodes {tower.modality}, not {modality}."
                )
        for modality in self.heads:
            if modality not in self.towers:
                raise ValueError(f"heads.{modality}: there is no tower for {modality}.")

    def specs(self) -> dict[str, InputSpec]:
        """What each modality's tower asks of the loader."""
        return {modality: tower.input_spec() for modality, tower in self.towers.items()}


def modality_of(column: str) -> str:
    """The part of a column's name before the dot."""
    return column.partition(".")[0]


class Model(nn.Module):
    """``embed(batch)`` and ``loss(embeddings)``, both through :meth:`forward`, so that engines see every call."""

    def __init__(self, config: ModelConfig, objectives: dict[str, Any] | None = None) -> None:
        """Build every part with random weights.

        Args:
            objectives: name -> built :class:`Objective`; none for a model that only encodes.
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
        self.geometry = GEOMETRIES.build(config.geometry)
        self.objectives = nn.ModuleDict(objectives or {})
        towers: dict[str, Any] = dict(self.towers.items())
        spaces = Spaces(config.dim, {name: tower.width for name, tower in towers.items()})
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            objective.attach(spaces)

    @property
    def needs(self) -> Needs:
        """Everything that the objectives read."""
        total = Needs(embeddings=())
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            total = total | objective.needs()
        return total

    def forward(self, what: Literal["embed", "loss"], value: Any) -> Any:
        """Dispatch: ``("embed", Batch) -> Embeddings`` or ``("loss", Embeddings) -> Terms``."""
        return self.embed(value) if what == "embed" else self.loss(value)

    def encode(self, modality: str, values: Values) -> Tensor:
        """Embed rows of one modality, all of them present: (B, ...) -> (B, D)."""
        features = self.towers[modality](values)
        return self.geometry.project(self.heads[modality](features.pooled))

    def embed(self, batch: Batch) -> Embeddings:
        """Embed each column that an objective reads, in sorted order, on its present rows alone."""
        columns = {}
        for name in self.needs.embeddings:
            column = batch.columns[name]
            with torch.autocast(column.present.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                columns[name] = self._embed_column(name, column)
        return Embeddings(columns, batch.labels, batch.keys)

    def _embed_column(self, name: str, column: Column) -> Embedded:
        rows = column.present.nonzero().squeeze(1)
        values = column.values
        if len(rows) == 0:
            # One zero row runs all the same and counts nothing: every rank must take the same path through the
            # weights, or DDP and ZeRO wait for gradients that never come.
            values = map_values(values, lambda tensor: tensor.new_zeros(1, *tensor.shape[1:]))
        z = self.encode(modality_of(name), values)
        if len(rows) == len(column.present):
            return Embedded(z, column.present)
        whole = z.new_zeros(len(column.present), z.shape[1])
        used = rows if len(rows) else rows.new_zeros(1)
        return Embedded(whole.index_copy(0, used, z if len(rows) else 0 * z), column.present)

    def loss(self, embeddings: Embeddings) -> Terms:
        """Weighted sum of the objectives, each seeing only what it declared."""
        losses: list[Tensor] = []
        scalars: dict[str, Tensor] = {}
        for name, objective in self.objectives.items():
            assert isinstance(objective, Objective)
            terms = objective(embeddings.limited(objective.needs()))
            losses.append(objective.config.weight * terms.loss)
            scalars[f"loss/{name}"] = terms.loss.detach()
            scalars |= {f"{name}/{key}": value for key, value in terms.scalars.items()}
        return Terms(loss=torch.stack(losses).sum(), scalars=scalars)

    def after_step(self) -> None:
        """Let objectives move their state; call once an update."""
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            objective.after_step()
