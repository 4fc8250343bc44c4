"""Tip-Adapter as a head: votes of a few labelled rows beside the prompts."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Classifier
from mmcontrast.downstream.shots import drawn_shots
from mmcontrast.downstream.towers import Towers
from mmcontrast.evaluate.learners import tip_adapter as learner


@DOWNSTREAM.register("tip_adapter")
class TipAdapter(Classifier):
    """A cache of a few labelled rows beside the zero-shot classifier, as it is or with its keys tuned.

    Source: Zhang et al. 2021, arXiv:2111.03930.
    """

    @config
    class Config:
        """Fields of the head."""

        source: str  # labelled rows: embeddings, or anything that embed reads
        label: str = "label"  # field of the class
        where: dict[str, str] = {}  # keep rows whose field has this value
        modality: Literal["image", "audio"] = "image"
        prompts: tuple[str, ...] = ("{}",)  # of the zero-shot classifier; {} is the class
        shots: Count = 16  # rows of each class that are cached; up to four more choose alpha and beta
        training: Literal["free", "keys"] = "free"  # keys: Tip-Adapter-F, the cached rows' points learn
        seed: int = 0  # of the draw and of the batches

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
