"""DCLR: false negatives get no weight, and noise gives negatives where the space is empty."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.config import Fraction, NonNegative, NonNegativeCount, Positive, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import LogitScale, Objective
from mmcontrast.objectives.draws import Draws
from mmcontrast.objectives.pairwise import Key, Temperature, Tile, compare, log_sum_exp, pair_needs, picked
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("dclr", "noise_negatives")
class DCLR(Objective):
    r"""In-batch contrast with weighted in-batch negatives and unweighted noise negatives.

        loss_i = -log( e^{s sim(h_i, h+_i)} / (e^{s sim(h_i, h+_i)} + sum_j w_ij e^{s sim(h_i, h+_j)}
                                               + sum_k e^{s sim(h_i, n_k)}) ),
        w_ij = 0 where sim(h_i, h+_j) >= threshold, else 1, without gradient.

    Noise vectors n_k start Gaussian, the same for all rows and ranks, new in each update.  ``ascent`` times they move
    by ``step`` along the normalised gradient of the loss that has noise alone as negatives, away from uniformity.

    Needs: query and positive columns.
    Relations: without noise and with threshold 1, ``simcse``.
    Source: Zhou et al. 2022, arXiv:2205.00656.  The paper judges false negatives by another trained
    model; here the model judges itself, as none other is at hand.
    """

    @config
    class Config:
        """Fields of the objective."""

        query: str = "text"
        positive: str = "text.view2"
        threshold: Fraction = 0.9  # similarity from which a negative counts as false
        noise: NonNegativeCount = 64  # K, noise vectors
        deviation: Positive = 1.0  # of the Gaussian, before rows are scaled to length 1
        ascent: NonNegativeCount = 4  # moves of the noise
        step: Positive = 1e-3  # length of a move, the paper's
        temperature: Temperature = 0.05
        weight: NonNegative = 1.0  # factor of this objective in the run's loss

        def __post_init__(self) -> None:
            if self.query == self.positive:
                raise ValueError("query and positive must be different columns.")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = LogitScale(temperature=config.temperature, learned=False)
        self.random = Draws()

    def needs(self) -> Needs:
        """Query and positive."""
        return pair_needs((self.config.query, self.config.positive), None)

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over rows with query and positive."""
        query, positive = emb[self.config.query], emb[self.config.positive]
        both = (query.present & positive.present).float()
        scale = self.scale()
        noise = self._noise(query.z.detach().float(), positive.z.detach().float(), both, scale.detach())

        def per_row(tile: Tile) -> Tensor:
            true = tile.negative & (tile.similarity.detach() < self.config.threshold)
            logits = scale * tile.similarity
            found = picked(logits, tile.positive)
            everything = log_sum_exp(logits, tile.positive | true)
            if len(noise):
                apart = scale * (query.z[tile.rows].float() @ noise.T)  # (R, K)
                everything = torch.logaddexp(everything, apart.logsumexp(dim=1))
            return everything - found

        rows = compare(query, [Key(positive, "positive")], per_row)
        return Terms(loss=comm.row_mean(rows, both))

    def _noise(self, query: Tensor, positive: Tensor, both: Tensor, scale: Tensor) -> Tensor:
        """Draw noise and move it, alike on every rank: (K, D), without gradient."""
        generator = self.random.generator()
        noise = self.config.deviation * torch.randn(self.config.noise, query.shape[1], generator=generator)
        noise = noise.to(query.device)
        if not self.config.noise:
            return noise
        keys, found, weight = (comm.gather(each) for each in (query, (query * positive).sum(dim=1), both))
        for _ in range(self.config.ascent):
            with torch.enable_grad():
                moving = noise.detach().requires_grad_()
                apart = (scale * (keys @ normalize(moving, dim=1).T)).logsumexp(dim=1)  # (G,)
                loss = ((apart - scale * found) * weight).sum() / weight.sum().clamp_min(1.0)
                (gradient,) = torch.autograd.grad(loss, moving)
            noise = noise + self.config.step * normalize(gradient, dim=1)
        return normalize(noise, dim=1)

    def after_step(self, emb: Embeddings) -> None:
        """Draw other noise for the next update."""
        self.random.advance()
