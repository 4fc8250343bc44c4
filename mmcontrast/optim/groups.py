"""Which parameters share a learning rate and a weight decay: by tower, by depth in it, by shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from annotated_types import Gt, Le
from torch import nn

from mmcontrast.config import NonNegative, Positive, config

Decay = Annotated[float, Gt(0), Le(1)]
LISTED = 6  # learning rates that a line lists; of more, the first two and the last


@dataclass(frozen=True)
class Place:
    """Where a parameter stands in its tower, or with ``tower`` None outside of all."""

    tower: str | None
    depth: int  # 0 where inputs enter, n in the n-th block, top after the last one and in the head
    top: int

    @property
    def in_block(self) -> bool:
        """Whether it belongs to a block, not to what comes before the first or after the last."""
        return 0 < self.depth < self.top


class Placed(Protocol):
    """A model that knows where its parameters stand."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter, once."""

    def places(self) -> dict[str, Place]:
        """The place of each parameter."""


@config
class TowerRates:
    """Rates of one tower and its head; null: the optimizer's."""

    lr: Positive | None = None
    weight_decay: NonNegative | None = None
    layer_decay: Decay | None = None


@config
class Rates:
    """Fields that every optimizer has."""

    lr: Positive = 5e-4
    weight_decay: NonNegative = 0.2  # of matrices and kernels; gains, biases and learned scalars never decay
    layer_decay: Decay = 1.0  # factor of the learning rate for each block below a tower's head (BEiT: 0.65 to 0.9)
    towers: dict[str, TowerRates] = {}  # modality -> what its tower and head have of their own

    @property
    def vary(self) -> bool:
        """Whether some parameters learn at another rate, or decay otherwise, than others of their shape."""
        return self.layer_decay < 1 or bool(self.towers)


@dataclass(frozen=True)
class Group:
    """Parameters of equal rates."""

    lr: float
    weight_decay: float
    in_blocks: bool  # matrices inside towers' blocks, where the optimizer tells them from others
    parameters: list[nn.Parameter] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        """The group as torch's optimizers take it."""
        return {"params": self.parameters, "lr": self.lr, "weight_decay": self.weight_decay}


def parameter_groups(model: Placed, rates: Rates, *, apart: bool = False) -> list[Group]:
    """Sort the trainable parameters by learning rate and weight decay; groups that decay come first.

    A parameter ``d`` blocks below its tower's head has ``layer_decay ** d`` of the tower's learning rate.

    Args:
        apart: keep matrices inside towers' blocks apart from all else.

    Source: layer-wise decay as in Bao et al. 2021, arXiv:2106.08254, appendix (ELECTRA: Clark et al. 2020).
    """
    places = model.places()
    groups: dict[tuple[float, float, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            place = places[name]
            lr, weight_decay = rates_of(rates, place)
            is_matrix = parameter.ndim >= 2
            key = (lr, weight_decay if is_matrix else 0.0, apart and is_matrix and place.in_block)
            group = groups.setdefault(key, Group(*key))
            group.parameters.append(parameter)
            group.names.append(name)
    return sorted(groups.values(), key=lambda group: group.weight_decay == 0)  # stable: else in the model's order


def rates_of(rates: Rates, place: Place) -> tuple[float, float]:
    """Learning rate of a place, and weight decay of its matrices."""
    own = rates.towers.get(place.tower or "", TowerRates())
    lr = rates.lr if own.lr is None else own.lr
    layer_decay = rates.layer_decay if own.layer_decay is None else own.layer_decay
    weight_decay = rates.weight_decay if own.weight_decay is None else own.weight_decay
    return lr * layer_decay ** (place.top - place.depth), weight_decay


def groups_in_words(model: Placed, groups: list[Group]) -> list[str]:
    """For each tower, and for what is outside of them, its learning rates from the inputs up and its weight decay."""
    places = model.places()
    found: dict[str, list[tuple[int, Group, nn.Parameter]]] = {}
    for group in groups:
        for name, parameter in zip(group.names, group.parameters, strict=True):
            place = places[name]
            found.setdefault(place.tower or "other", []).append((place.depth, group, parameter))
    lines = []
    for tower, entries in sorted(found.items(), key=lambda item: (item[0] == "other", item[0])):
        total = sum(parameter.numel() for _, _, parameter in entries)
        rates = dict(sorted((depth, group.lr) for depth, group, _ in entries))
        distinct = list(dict.fromkeys(f"{lr:.3g}" for lr in rates.values()))
        if len(distinct) > LISTED:
            distinct = [*distinct[:2], "...", distinct[-1]]
        shown = distinct[0] if len(distinct) == 1 else f"{', '.join(distinct)} from the inputs up"
        decayed = sum(parameter.numel() for _, group, parameter in entries if group.weight_decay)
        decays = sorted({group.weight_decay for _, group, _ in entries if group.weight_decay})
        decay = f"weight decay {' and '.join(f'{each:g}' for each in decays)} on {decayed:,}" if decays else "no decay"
        inside = sum(parameter.numel() for _, group, parameter in entries if group.in_blocks)
        apart = f", {inside:,} in matrices of blocks" if inside else ""
        lines.append(f"{tower}: {total:,} trained parameters{apart}, learning rate {shown}, {decay}")
    return lines
