"""CSR: sparse codes of embeddings that stay as they are."""

from __future__ import annotations

from itertools import permutations
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.errors import ConfigError
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, cross_entropy_row, pair_needs
from mmcontrast.objectives.sparse_autoencoder import Coded, SparseAutoencoder
from mmcontrast.types import Embedded, Embeddings, Needs, Terms

SHORTEST = 1e-5  # activations below it do not keep a latent alive


@OBJECTIVES.register("sparse_codes", "csr", "contrastive_sparse_representation")
class SparseCodes(Objective):
    r"""A top-k autoencoder over embeddings without gradient, with a contrast of its codes.

        loss = mean over columns of ( R_k + R_4k / 8 + beta A ) + gamma C,

    R_k = mean_i |z_i - W^T top_k(W (z_i - b) + c) - b|^2 / D, all entries of a code at least 0; R_4k the same with 4k
    numbers.  A is the squared error of the k_aux largest *dead* latents in rebuilding what the code leaves over,
    divided by the variance of that rest; a latent is dead if it was in no code of ``dead_after`` updates.  C is
    InfoNCE between codes scaled to length 1: of a row's two columns, in all orders; with one column, of each row with
    itself.

    Needs: the columns; the ``group`` label if one is named.
    Relations: embeddings get no gradient, so that it may stand beside the objective that trains them, or follow it
    with towers and heads frozen.  One autoencoder serves all columns: they share a space.
    Source: Wen et al. 2025, arXiv:2503.01776, and its authors' code, for one column up to the weight of negatives
    (they count each twice).  Theirs counts a latent's use within the update; here it counts from the next one on.
    """

    learns_alone: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the objective."""

        columns: tuple[str, ...] = (
            "image",
            "text",
        )  # embeddings to encode; two or more are contrasted with each other
        latents: Count | None = None  # length of a code; null: 4 model.dim, the paper's
        active: Count = 32  # k, numbers of a code that are not zero
        auxiliary: Count = 512  # k_aux, dead latents that rebuild the rest, the paper's
        dead_after: Count = 30  # updates without use after which a latent is dead, the paper's code's
        auxiliary_weight: NonNegative = 1 / 32  # beta, the paper's code's
        contrast_weight: NonNegative = 0.1  # gamma, the paper's code's
        temperature: Temperature = 0.2  # of the contrast, the paper's code's
        weight: NonNegative = 1.0  # factor of this objective in the run's loss
        group: str | None = None  # label whose equal values are never negatives of each other; -1 is no group

        def __post_init__(self) -> None:
            if not self.columns or len(set(self.columns)) < len(self.columns):
                raise ValueError("columns must be one or more different columns.")

    autoencoder: SparseAutoencoder
    unused: Tensor

    def attach(self, spaces: Spaces) -> None:
        """Build the autoencoder at the embedding's width.

        Raises:
            ConfigError: a code has fewer numbers than may be active.
        """
        latents = self.config.latents or 4 * spaces.dim
        if self.config.active > latents:
            raise ConfigError(f"sparse_codes: active = {self.config.active} is more than the {latents} latents.")
        self.autoencoder = SparseAutoencoder(
            dim=spaces.dim, latents=latents, active=self.config.active, spare=self.config.auxiliary
        )
        self.register_buffer("unused", torch.zeros(latents, dtype=torch.int64))  # updates since a latent was active

    def needs(self) -> Needs:
        """The columns, and the group label."""
        return pair_needs(self.config.columns, self.config.group)

    def codes(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N L"]:
        """Sparse codes of embeddings, scaled to length 1."""
        coded: Coded = self.autoencoder(z, self.dead)
        return normalize(coded.codes, dim=1)

    @property
    def dead(self) -> Tensor:
        """Latents that no recent code used: (L,)."""
        return self.unused > self.config.dead_after

    def forward(self, emb: Embeddings) -> Terms:
        """Return the rebuilding errors and the contrast, weighted."""
        columns = {name: emb[name] for name in self.config.columns}
        coded = {name: self.autoencoder(column.z.detach(), self.dead) for name, column in columns.items()}
        parts = [self._errors(columns[name], coded[name]) for name in columns]
        rebuilt, looser, spare = torch.stack(parts).mean(dim=0)
        contrast = self._contrast(emb, {name: coded[name].codes for name in columns})
        loss = rebuilt + looser / 8 + self.config.auxiliary_weight * spare + self.config.contrast_weight * contrast
        # Towers hear of every update, if only zeros: distributed engines wait for their gradients.
        loss = loss + 0.0 * torch.stack([column.z.float().sum() for column in columns.values()]).sum()
        scalars = {"error": rebuilt, "auxiliary": spare, "contrast": contrast, "dead": self.dead.float().mean()}
        return Terms(loss=loss, scalars={name: value.detach() for name, value in scalars.items()})

    def _errors(self, column: Embedded, coded: Coded) -> Float[Tensor, " 3"]:
        z, present = column.z.detach().float(), column.present.float()
        variance = _variance(coded.rest, present)
        spare = comm.row_mean((coded.spare - coded.rest).square().mean(dim=1), present)
        # Without a dead latent nothing could learn to rebuild the rest.
        spare = spare / variance.clamp_min(1e-12) * bool(self.dead.any() and variance > 0)
        rebuilt, looser = (
            comm.row_mean((each - z).square().mean(dim=1), present) for each in (coded.rebuilt, coded.looser)
        )
        return torch.stack([rebuilt, looser, spare])

    def _contrast(self, emb: Embeddings, codes: dict[str, Tensor]) -> Tensor:
        columns: dict[str, Embedded] = {
            name: Embedded(normalize(code, dim=1) * emb[name].present[:, None], emb[name].present)
            for name, code in codes.items()
        }
        group = emb.label(self.config.group) if self.config.group else None

        def per_row(tile: Tile) -> Tensor:
            return cross_entropy_row(tile, tile.similarity / self.config.temperature)

        names = list(columns)
        pairs: list[Any] = list(permutations(names, 2)) or [(names[0], names[0])]
        losses = []
        for query, key in pairs:
            rows = compare(columns[query], [Key(columns[key], "positive")], per_row, group=group)
            losses.append(comm.row_mean(rows, (columns[query].present & columns[key].present).float()))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def after_step(self, emb: Embeddings) -> None:
        """Count for how long each latent has been in no code."""
        uses = torch.zeros_like(self.unused, dtype=torch.float32)
        for name in self.config.columns:
            coded = self.autoencoder(emb[name].z, self.dead)
            uses += ((coded.codes > SHORTEST) & emb[name].present[:, None]).sum(dim=0)
        self.unused.copy_(torch.where(comm.all_sum(uses) > 0, 0, self.unused + 1))


def _variance(rows: Float[Tensor, "B D"], present: Float[Tensor, " B"]) -> Tensor:
    """Mean squared distance per dimension of all ranks' rows from their mean, without gradient."""
    count = comm.all_sum(present.sum()).clamp_min(1.0)
    mean = comm.all_sum((rows * present[:, None]).sum(dim=0)) / count
    return comm.all_sum(((rows - mean).square().mean(dim=1) * present).sum()) / count
