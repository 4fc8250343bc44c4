"""A draft's weights under our model's names, every one accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcontrast.errors import CheckpointError, ConfigError
from mmcontrast.export.key_map import KeyMap, first_fit
from mmcontrast.export.part import Part
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.importers.base import Draft, why_left_out
from mmcontrast.model import Model, ModelConfig

SHOWN = 3  # names that a message lists


@dataclass(frozen=True)
class Keys:
    """What became of the names in a file."""

    matched: dict[str, str]  # theirs -> ours
    missing: list[str]  # ours, without a weight
    unexpected: list[str]  # theirs, that nothing here is made for
    left_out: dict[str, str]  # theirs -> why
    computed: list[str]  # ours, that follow from sizes

    def lines(self) -> list[str]:
        """For people."""
        counts = f"{len(self.matched)} matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        lines = [f"keys       {counts}"]
        reasons: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            reasons.setdefault(why, []).append(name)
        lines += [f"left out   {len(names)}: {_some(names)}: {why}" for why, names in reasons.items()]
        if self.computed:
            lines.append(f"computed   {len(self.computed)}: {_some(self.computed)}: follow from sizes")
        return lines


def model_config(draft: Draft) -> ModelConfig:
    """The towers and heads of a draft, on the unit sphere."""
    return ModelConfig(
        dim=draft.dim,
        towers={modality: each.tower for modality, each in draft.towers.items()},
        heads={modality: each.head for modality, each in draft.towers.items()},
        geometry=Sphere.Config(),
    )


def whole_map(draft: Draft) -> KeyMap:
    """Their names in the file -> names in our model."""
    rules = []
    for modality, each in draft.towers.items():
        for rule in each.key_map.rules:
            place, _, rest = rule.ours.partition(".")
            assert place in ("tower", "head"), f"a rule of {modality} leads to '{rule.ours}'"
            rules.append(type(rule)(rule.theirs, f"{place}s.{modality}.{rest}", rule.transposed))
    return KeyMap(tuple(rules))


def fitted_part(draft: Draft, *, where: str) -> tuple[Part, Keys]:
    """Build our model with a draft's weights in float32.

    Raises:
        CheckpointError: a weight is missing, has no place, or has another shape.
    """
    left_out = {name: why for name in draft.state if (why := why_left_out(draft, name)) is not None}
    mapped = whole_map(draft).to_ours({name: value for name, value in draft.state.items() if name not in left_out})
    try:
        model = Model(model_config(draft)).eval().requires_grad_(False)
    except ConfigError as error:
        raise CheckpointError(f"'{where}' describes towers that cannot be built: {error}") from error
    own = model.state_dict()
    unexpected = [*mapped.unknown, *(theirs for theirs, ours in mapped.origin.items() if ours not in own)]
    absent = [name for name in own if name not in mapped.state]
    computed = [name for name in absent if first_fit(list(draft.computed), name) is not None]
    keys = Keys(
        matched={theirs: ours for theirs, ours in mapped.origin.items() if ours in own and ours in mapped.state},
        missing=[name for name in absent if name not in computed],
        unexpected=unexpected,
        left_out=left_out,
        computed=computed,
    )
    _refuse(keys, total=len(own), where=where)
    state = {name: _in_place(own[name], mapped.state.get(name), name, where) for name in own}
    model.load_state_dict(state)
    return Part(model), keys


def _refuse(keys: Keys, *, total: int, where: str) -> None:
    problems = []
    if keys.missing:
        problems.append(
            f"{len(keys.missing)} of {total} weights are missing: {_some(keys.missing)}. "
            "The file is truncated, or of another layout."
        )
    if keys.unexpected:
        problems.append(
            f"{len(keys.unexpected)} weights have no place here: {_some(keys.unexpected)}. Leaving them out would "
            "give other embeddings."
        )
    if problems:
        raise CheckpointError(f"'{where}' cannot be imported: " + " ".join(problems))


def _in_place(own: Tensor, found: Tensor | None, name: str, where: str) -> Tensor:
    """A weight of the file in our type; what follows from sizes as it was built."""
    if found is None:
        return own
    if found.shape != own.shape:
        raise CheckpointError(
            f"'{where}' cannot be imported: '{name}' has shape {tuple(found.shape)} there, {tuple(own.shape)} here."
        )
    if found.is_floating_point() != own.is_floating_point():
        raise CheckpointError(f"'{where}' cannot be imported: '{name}' is {found.dtype} there, {own.dtype} here.")
    found = found.to(own.dtype)
    if found.is_floating_point() and not torch.isfinite(found).all():
        raise CheckpointError(f"'{where}' cannot be imported: '{name}' holds values that are not finite.")
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
