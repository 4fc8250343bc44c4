"""Tip-Adapter as a head: votes of a few labelled rows beside the prompts."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Classifier
from mmcontrast.downstream.shots import ShotsConfig, drawn_shots
from mmcontrast.downstream.towers import Towers
from mmcontrast.evaluate.learners import tip_adapter as learner


@DOWNSTREAM.register("tip_adapter")
class TipAdapter(Classifier):
    """A cache of a few labelled rows beside the zero-shot classifier, as it is or with its keys tuned.

    Source: Zhang et al. 2021, arXiv:2111.03930.
    """

    @config
    class Config(ShotsConfig):
        """Fields of the head."""

        training: Literal["free", "keys"] = "free"  # keys: Tip-Adapter-F, the cached rows' points learn

    class_z: Tensor
    keys: Tensor
    values: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__(config, about=about)
        classes, shots = len(about.classes), about.sizes["shots"]
        sizes = {"class_z": (classes, about.dim), "keys": (shots, about.dim), "values": (shots, classes)}
        for name, size in {**sizes, "alpha": (1,), "beta": (1,)}.items():
            self.register_buffer(name, torch.zeros(size))

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Cache the rows, tune them if asked to, and choose alpha and beta.

        Raises:
            HeadError: one class alone, or no such rows.
        """
        drawn = drawn_shots(config, towers)
        shots, head = drawn.shots, cls(config, about=drawn.about)
        assert shots.class_z is not None
        found = learner.cached(shots.z, shots.labels, shots.class_z)
        if config.training == "keys":
            found = learner.tuned(found, shots.z, shots.labels, seed=config.seed)
        found = learner.chosen(found, shots.held_z, shots.held_labels)
        for name in ("class_z", "keys", "values"):
            getattr(head, name).copy_(getattr(found, name))
        head.alpha.fill_(found.alpha)
        head.beta.fill_(found.beta)
        return head.eval().requires_grad_(False)

    def scores(self, z: Float[Tensor, "B D"], modality: str) -> Float[Tensor, "B C"]:
        """Scores of every class."""
        adapter = learner.TipAdapter(self.class_z, self.keys, self.values, float(self.alpha), float(self.beta))
        return adapter.scores(z)
