"""unCLIP's prior, small: likely picture or sound embeddings for a text's.

Letters: B rows, D coordinates.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcontrast.config import Count, Fraction, NonNegative, Positive, config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Judged, Prior
from mmcontrast.downstream.close import paired
from mmcontrast.downstream.descent import descend
from mmcontrast.downstream.schedule import denoised, noised
from mmcontrast.downstream.towers import Towers
from mmcontrast.errors import HeadError

FREQUENCIES = 32  # of the time's code
MIN_PAIRS = 32


@DOWNSTREAM.register("diffusion_prior")
class DiffusionPrior(Prior):
    """A denoiser of embeddings given a text's embedding; predicts the clean one, guided without a classifier.

    Trained with mean |x - f(x_t, t, text)|^2, the text replaced by a learned blank for a tenth of the rows; sampled
    by DDIM; of ``samples`` the one with the largest dot product with the text is kept.

    Source: Ramesh et al. 2022, arXiv:2204.06125, section 2.2 (diffusion prior).  Theirs is a transformer over the
    caption's tokens; here residual layers over the noised point, the caption's embedding and the time.
    """

    @config
    class Config:
        """Fields of the head."""

        source: str  # rows with texts and the modality: embeddings, or anything that embed reads
        modality: Literal["image", "audio"] = "image"  # whose embeddings are generated
        width: Positive = 2.0  # of a hidden layer, times D
        layers: Count = 2  # residual layers
        blank: Fraction = 0.1  # share of rows without text in training, the paper's
        guidance: NonNegative = 1.0  # w of blank + w (text - blank) in sampling; 1: none
        sampling_steps: Count = 16
        samples: Count = 2  # of which one is kept, the paper's
        steps: Count = 1000
        batch_rows: Count = 256
        lr: Positive = 1e-3
        seed: int = 0  # of batches, noise and weights

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__(config, about=about)
        dim, hidden = about.dim, max(8, round(config.width * about.dim))
        self.blank = nn.Parameter(torch.zeros(dim))
        self.enter = nn.Linear(2 * dim + 2 * FREQUENCIES, hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            for _ in range(config.layers)
        )
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, dim))

    def forward(
        self, points: Float[Tensor, "B D"], time: Float[Tensor, " B"], text: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Predict clean points; all are scaled to coordinates of variance about 1."""
        hidden = self.enter(torch.cat([points, text, time_code(time)], dim=1))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        found: Tensor = self.leave(hidden)
        return found

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Train on pairs.

        Raises:
            HeadError: too few of them.
        """
        rows = towers.rows(config.source, (config.modality,)).having(config.modality)
        text, target = paired(rows, config.modality, towers)
        if len(text) < MIN_PAIRS:
            raise HeadError(f"'{config.source}' has {len(text)} pairs; {MIN_PAIRS} are the least.")
        about = About.of(towers, rows.facts, modality=config.modality)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = cls(config, about=about)
            head._train(text, target)
        return head.eval().requires_grad_(False)

    def _train(self, text: Tensor, target: Tensor) -> None:
        scale, config = math.sqrt(self.about.dim), self.config

        def loss() -> Tensor:
            rows = torch.randint(0, len(text), (min(config.batch_rows, len(text)),))
            clean, noise, time = scale * target[rows], torch.randn(len(rows), self.about.dim), torch.rand(len(rows))
            blanked = (torch.rand(len(rows), 1) < config.blank).float()
            given = (1 - blanked) * scale * text[rows] + blanked * self.blank
            error: Tensor = self(noised(clean, noise, time), time, given) - clean
            return error.square().mean()

        descend(self.parameters(), loss, steps=config.steps, lr=config.lr)

    @torch.no_grad()
    def sampled(self, text: Float[Tensor, "B D"], *, seed: int = 0) -> Float[Tensor, "B D"]:
        """Draw ``samples`` points for each text and keep the one nearest to it."""
        generator, given = torch.Generator().manual_seed(seed), math.sqrt(self.about.dim) * text

        def predict(points: Tensor, time: Tensor) -> Tensor:
            with_text = self(points, time, given)
            if self.config.guidance == 1:
                return with_text
            without = self(points, time, self.blank.expand_as(given))
            return without + self.config.guidance * (with_text - without)

        drawn = torch.stack(
            [
                normalize(
                    denoised(predict, torch.randn(text.shape, generator=generator), steps=self.config.sampling_steps),
                    dim=1,
                )
                for _ in range(self.config.samples)
            ]
        )  # (samples, B, D)
        best = (drawn * text).sum(dim=-1).argmax(dim=0)
        return drawn[best, torch.arange(len(text))]

    def judge(self, towers: Towers, judged: Judged) -> dict[str, float]:
        """Cosine with the true embedding, and recall of it, for the prior's points and for the text's own."""
        modality = self.config.modality
        self.check_towers(towers.digests, modality, "text", where=towers.location)
        rows = towers.rows(judged.source, (modality,)).where(judged.where).having(modality)
        text, target = paired(rows, modality, towers)
        _, caption = torch.unique(text, dim=0, return_inverse=True)
        same = caption[:, None] == caption[None]
        found: dict[str, float] = {}
        for name, points in (("prior", self.sampled(text)), ("text", text)):
            found[f"{name} cosine"] = float((points * target).sum(dim=1).mean())
            order = (points @ target.T).topk(min(5, len(target)), dim=1).indices
            for k in (1, 5):
                found[f"{name} R@{k}"] = float(same.gather(1, order[:, :k]).any(dim=1).double().mean())
        return found | {"rows": len(text)}


def time_code(time: Float[Tensor, " B"]) -> Float[Tensor, "B T"]:
    """Sines and cosines of a time from 0 to 1, at frequencies from 1 to 1,000."""
    frequencies = torch.logspace(0, 3, FREQUENCIES)
    angle = time[:, None] * frequencies
    return torch.cat([angle.sin(), angle.cos()], dim=1)
