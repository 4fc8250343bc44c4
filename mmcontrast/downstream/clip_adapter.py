"""CLIP-Adapter as a head: a bottleneck beside the embedding, before the prompts."""

from __future__ import annotations

from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Classifier
from mmcontrast.downstream.shots import ShotsConfig, drawn_shots
from mmcontrast.downstream.towers import Towers
from mmcontrast.evaluate.learners import clip_adapter as learner


@DOWNSTREAM.register("clip_adapter")
class ClipAdapter(Classifier):
    """A bottleneck learned from a few labelled rows, whose output is blended with the embedding.

    Source: Gao et al. 2021, arXiv:2110.04544.
    """

    @config
    class Config(ShotsConfig):
        """Fields of the head."""

    class_z: Tensor
    down: Tensor
    up: Tensor
    ratio: Tensor

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__(config, about=about)
        hidden = max(1, about.dim // learner.REDUCTION)
        sizes = {"class_z": (len(about.classes), about.dim), "down": (about.dim, hidden), "up": (hidden, about.dim)}
        for name, size in {**sizes, "ratio": (1,)}.items():
            self.register_buffer(name, torch.zeros(size))

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Learn the bottleneck and choose the ratio.

        Raises:
            HeadError: one class alone, or no such rows.
        """
        drawn = drawn_shots(config, towers)
        shots, head = drawn.shots, cls(config, about=drawn.about)
        assert shots.class_z is not None
        found = learner.best_clip_adapter(
            shots.z, shots.labels, shots.class_z, shots.held_z, shots.held_labels, seed=config.seed
        )
        for name in ("class_z", "down", "up"):
            getattr(head, name).copy_(getattr(found, name))
        head.ratio.fill_(found.ratio)
        return head.eval().requires_grad_(False)

    def scores(self, z: Float[Tensor, "B D"], modality: str) -> Float[Tensor, "B C"]:
        """Scores of every class."""
        return learner.ClipAdapter(self.class_z, self.down, self.up, float(self.ratio)).scores(z)
