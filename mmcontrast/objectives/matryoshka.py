"""Matryoshka: any objective at several widths of the embedding at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn.functional import normalize

from mmcontrast.config import Count, NonNegative, OneOf, Positive, config
from mmcontrast.errors import ConfigError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("matryoshka", "mrl")
class Matryoshka(Objective):
    r"""The first dimensions are embeddings by themselves.

        loss = sum_d c_d loss_d( z_1..d / |z_1..d| ),

    with an objective of its own (and a temperature of its own) for each width d.

    Needs: those of the inner objective.
    Relations: one width, model.dim, is the inner objective.
    Source: Kusupati et al. 2022, arXiv:2205.13147.
    """

    @config
    class Config:
        """Fields of the objective."""

        objective: Annotated[Any, OneOf(OBJECTIVES)]  # what is applied at each width; its weight counts too
        widths: tuple[Count, ...] = (32, 64, 128, 256)  # leading dimensions; none beyond model.dim
        weights: tuple[Positive, ...] = ()  # c_d, one a width; empty: 1 each
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.widths or len(set(self.widths)) < len(self.widths):
                raise ValueError("widths must be one or more different numbers.")
            if self.weights and len(self.weights) != len(self.widths):
                raise ValueError(f"weights has {len(self.weights)} entries for {len(self.widths)} widths.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.inner = nn.ModuleDict({str(width): OBJECTIVES.build(config.objective) for width in config.widths})
        needs = self.needs()
        if needs.tokens or needs.teacher or needs.momentum:
            raise ConfigError(
                f"matryoshka cuts pooled embeddings alone; '{config.objective.registry_name}' also reads tokens, "
                "a teacher or a momentum copy. Name it as an objective of its own."
            )

    def attach(self, spaces: Spaces) -> None:
        """Let each width's objective build its weights at that width."""
        if max(self.config.widths) > spaces.dim:
            raise ConfigError(f"matryoshka: width {max(self.config.widths)} is beyond model.dim = {spaces.dim}.")
        for width, inner in self.inner.items():
            assert isinstance(inner, Objective)
            inner.attach(replace(spaces, dim=int(width)))

    def needs(self) -> Needs:
        """What the inner objective reads."""
        first = next(iter(self.inner.values()))
        assert isinstance(first, Objective)
        return first.needs()

    def forward(self, emb: Embeddings) -> Terms:
        """Return the weighted sum over widths, and each width's loss."""
        weights = self.config.weights or (1.0,) * len(self.config.widths)
        losses, scalars = [], {}
        for width, weight in zip(self.config.widths, weights, strict=True):
            terms = self.inner[str(width)](cut(emb, width))
            losses.append(weight * self.config.objective.weight * terms.loss)
            scalars[f"loss_{width}"] = terms.loss.detach()
        return Terms(loss=torch.stack(losses).sum(), scalars=scalars)

    def after_step(self, emb: Embeddings) -> None:
        """Let each width's objective move its state."""
        for width, inner in self.inner.items():
            assert isinstance(inner, Objective)
            inner.after_step(cut(emb, int(width)))

    def problems(self, batch_rows: int) -> list[str]:
        """The inner objective's."""
        first = next(iter(self.inner.values()))
        assert isinstance(first, Objective)
        return first.problems(batch_rows)


def cut(emb: Embeddings, width: int) -> Embeddings:
    """Keep the leading dimensions of every declared column, scaled back to length 1."""
    names = emb.columns if emb.needs is None else emb.needs.embeddings
    columns = {name: Embedded(normalize(emb[name].z[:, :width].float(), dim=1), emb[name].present) for name in names}
    return replace(emb, columns=columns)
