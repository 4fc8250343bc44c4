"""SupReMix: supervised contrast for ordered labels, with mixtures of cells as hard negatives and hard positives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmcontrast import comm
from mmcontrast.config import NonNegative, NonNegativeCount, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.draws import Draws
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, log_sum_exp, pair_needs
from mmcontrast.types import Embedded, Embeddings, Needs, Terms


@OBJECTIVES.register("supremix", "ordinal_mixup", "mixup_contrast")
class SupReMix(Objective):
    r"""SupCon on a label of real numbers, with mixtures and distances.

        loss_i = mean_{p in P(i)} ( log sum_{k in A(i)} w_ik e^{s sim(x_i, k)} - s sim(x_i, p) ),
        w_ik = 1 + |t_i - t_k|.

    A(i) holds every other present cell of the columns and the mixtures of x_i; P(i) those of its own label t_i.

    Hard negatives: q x_i + (1 - q) x_k for each cell k of another label, whose label is mixed alike; q is drawn from a
    beta distribution, once an update.  Hard positives: mixtures of two cells with labels below and above t_i, at the
    share that gives t_i; mixtures carry no gradient and are not scaled back to the sphere.

    Needs: the columns and the label; rows whose label is not a number are left out.
    Relations: without mixtures and distances, ``supcon`` with ``keys: all``.
    Source: Wu et al. 2023 (Mixup your own pairs), arXiv:2309.16633, and its authors' code.  There every two cells
    around t_i make a positive, B^3 in all, and q is drawn for each mixture.  Here a row's positives mix the mean cell
    of the nearest label below with that of the nearest above, of the second nearest, and so on.
    """

    @config
    class Config:
        """Fields of the objective."""

        columns: tuple[str, ...] = ("image",)
        target: str = "relevance"  # label of real numbers
        mix_negatives: bool = True
        mix_positives: NonNegativeCount = 4  # at most so many a row; 0: none
        window: Positive | None = None  # labels further away make no positive; null: no limit
        shares: tuple[Positive, Positive] = (2.0, 8.0)  # of the beta distribution of q, the paper's code's
        magnify: bool = True  # cells weigh by the distance of their labels; False: w = 1
        temperature: Temperature = 0.07
        learn_temperature: bool = False
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if not self.columns or len(set(self.columns)) < len(self.columns):
                raise ValueError("columns must be one or more different columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=config.learn_temperature)
        self.random = Draws()

    def needs(self) -> Needs:
        """The columns and the label."""
        return pair_needs(self.config.columns, self.config.target)

    def share(self) -> float:
        """q of this update, the same on every rank."""
        seed = int(torch.randint(2**62, (1,), generator=self.random.generator()))
        return float(np.random.default_rng(seed).beta(*self.config.shares))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over cells that have a positive."""
        target = emb.label(self.config.target).float()
        known = target.isfinite()
        target = target.nan_to_num()
        columns = [Embedded(emb[name].z, emb[name].present & known) for name in self.config.columns]
        around = _LabelMeans(columns, target)
        losses, counted = [], []
        for query in columns:
            keys = [Key(key, "self" if key is query else "positive") for key in columns]
            contrast = _Contrast(self.config, self.scale(), self.share(), query, columns, target, around)
            pairs = compare(query, keys, contrast)  # (B, 2): loss, and 1 where there is a positive
            losses.append(pairs[:, 0])
            counted.append(pairs[:, 1].detach() * query.present)
        return Terms(loss=comm.row_mean(torch.cat(losses), torch.cat(counted)))

    def after_step(self, emb: Embeddings) -> None:
        """Draw another share for the next update."""
        self.random.advance()


class _Contrast:
    """The loss of some cells of one column, given their similarities to all cells."""

    def __init__(
        self,
        config: Any,
        scale: Tensor,
        share: float,
        query: Embedded,
        columns: list[Embedded],
        target: Tensor,
        around: _LabelMeans,
    ) -> None:
        self.config, self.scale, self.share, self.around = config, scale, share, around
        self.z, self.target = query.z.float(), target
        self.targets = comm.gather(target).repeat(len(columns))  # (K,) in the order of the tile's keys
        self.present = torch.cat([comm.gather(column.present) for column in columns])
        self.fixed = torch.cat([comm.gather(column.z.detach()) for column in columns]).float()

    def __call__(self, tile: Tile) -> Float[Tensor, "R 2"]:
        z, target = self.z[tile.rows], self.target[tile.rows]
        distance = (target[:, None] - self.targets[None, :]).abs()
        cells = (tile.positive & self.present[None, :]) | tile.negative
        same = cells & (distance == 0)
        logits = self.scale * tile.similarity
        total = log_sum_exp(self._weighed(logits, distance), cells)
        if self.config.mix_negatives:
            own = (z * z.detach()).sum(dim=1, keepdim=True)  # with mixtures, similarity is linear
            mixed = self.scale * (self.share * own + (1 - self.share) * (z @ self.fixed.T))
            mass = log_sum_exp(self._weighed(mixed, (1 - self.share) * distance), cells & ~same)
            total = torch.logaddexp(total, mass)
        number = same.sum(dim=1)
        sum_of_positives = (logits * same).sum(dim=1)
        if self.config.mix_positives:
            similarity, there = self.around.mixtures(z, target, self.config.mix_positives, self.config.window)
            found = self.scale * similarity
            total = torch.logaddexp(total, log_sum_exp(found, there))
            number = number + there.sum(dim=1)
            sum_of_positives = sum_of_positives + (found * there).sum(dim=1)
        some = (number > 0).to(logits.dtype)
        return torch.stack([(total - sum_of_positives / number.clamp_min(1)) * some, some], dim=1)

    def _weighed(self, logits: Tensor, distance: Tensor) -> Tensor:
        return logits + distance.log1p() if self.config.magnify else logits


class _LabelMeans:
    """The mean cell of each label that occurs on any rank, in the labels' order, without gradient."""

    def __init__(self, columns: list[Embedded], target: Tensor) -> None:
        kept = torch.cat([comm.gather(column.present) for column in columns])
        z = torch.cat([comm.gather(column.z.detach()) for column in columns]).float()[kept]
        self.values, place = comm.gather(target).repeat(len(columns))[kept].unique(return_inverse=True)  # (U,)
        count = torch.zeros(len(self.values), 1, device=z.device).index_add_(0, place, torch.ones_like(z[:, :1]))
        self.means = torch.zeros(len(self.values), z.shape[1], device=z.device).index_add_(0, place, z) / count

    def mixtures(
        self, z: Float[Tensor, "R D"], target: Float[Tensor, " R"], number: int, window: float | None
    ) -> tuple[Float[Tensor, "R M"], Bool[Tensor, "R M"]]:
        """Similarities of rows to mixtures that have their label, and whether there is such a mixture."""
        if len(self.values) < 3:
            nothing = 0.0 * z[:, :1]
            return nothing, torch.zeros_like(nothing, dtype=torch.bool)
        place = torch.searchsorted(self.values, target)
        similarities, there = [], []
        for step in range(1, number + 1):
            below, above = (place - step).clamp_min(0), (place + step).clamp_max(len(self.values) - 1)
            low, high = self.values[below], self.values[above]
            inside = (place - step >= 0) & (place + step < len(self.values))
            if window is not None:
                inside &= (target - low < window) & (high - target < window)
            share = ((high - target) / (high - low).clamp_min(1e-12))[:, None]
            mixture = share * self.means[below] + (1 - share) * self.means[above]
            similarities.append((z * mixture).sum(dim=1))
            there.append(inside)
        return torch.stack(similarities, dim=1), torch.stack(there, dim=1)
