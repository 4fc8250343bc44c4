"""The heads that few-shot classification compares: each learns from a few rows and is chosen by a few others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast.evaluate.learners.clip_adapter import best_clip_adapter
from mmcontrast.evaluate.learners.logistic import fit_logistic
from mmcontrast.evaluate.learners.near_zero_shot import fit_near_zero_shot
from mmcontrast.evaluate.learners.pair_tuned import fit_pair_tuned
from mmcontrast.evaluate.learners.tip_adapter import cached, chosen, tuned

HeadName = Literal["logistic", "near_zero_shot", "pair_tuned", "tip_adapter", "tip_adapter_f", "clip_adapter"]
FROM_PROMPTS = ("near_zero_shot", "tip_adapter", "tip_adapter_f", "clip_adapter")  # begin at the zero-shot classifier
ADAPTERS = ("tip_adapter", "tip_adapter_f", "clip_adapter")  # compare embeddings by dot products
HELD_SHOTS = 4  # rows a class, at most, that choose between learners
RADII = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)


class Scoring(Protocol):
    """A classifier of embeddings."""

    def scores(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Scores of every class."""


@dataclass(frozen=True)
class Shots:
    """Rows to learn from, rows to choose by, and the classes' prompts."""

    z: Float[Tensor, "B D"]
    labels: Int[Tensor, " B"]
    held_z: Float[Tensor, "H D"]
    held_labels: Int[Tensor, " H"]
    classes: int
    class_z: Float[Tensor, "C D"] | None = None  # None: no head that begins at the prompts


def draw_shots(
    labels: Int[Tensor, " B"], pool: Int[Tensor, " P"], *, classes: int, shots: int, seed: int
) -> tuple[Int[Tensor, " K"], Int[Tensor, " H"]]:
    """Rows to learn from, ``shots`` a class at most, and up to four others a class to choose by.

    Args:
        labels: of all rows.
        pool: numbers of the rows that may be drawn.
    """
    pool = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    learn, held = [], []
    for number in range(classes):
        mine = pool[labels[pool] == number]
        learn.append(mine[:shots])
        held.append(mine[shots : shots + min(shots, HELD_SHOTS)])
    return torch.cat(learn), torch.cat(held)


def fit_head(name: HeadName, shots: Shots, *, seed: int) -> Scoring:
    """Learn one head; what it leaves open is chosen by the held rows."""
    if name == "pair_tuned":
        return fit_pair_tuned(shots.z, shots.labels, classes=shots.classes, seed=seed)
    if name == "logistic":
        return _best(
            STRENGTHS,
            lambda strength: fit_logistic(shots.z, shots.labels, classes=shots.classes, inverse_strength=strength),
            shots,
        )
    class_z = shots.class_z
    assert class_z is not None, f"{name} begins at the classes' prompts"
    if name == "near_zero_shot":
        return _best(RADII, lambda radius: fit_near_zero_shot(shots.z, shots.labels, class_z, radius=radius), shots)
    if name == "clip_adapter":
        return best_clip_adapter(shots.z, shots.labels, class_z, shots.held_z, shots.held_labels, seed=seed)
    adapter = cached(shots.z, shots.labels, class_z)
    if name == "tip_adapter_f":
        adapter = tuned(adapter, shots.z, shots.labels, seed=seed)
    return chosen(adapter, shots.held_z, shots.held_labels)


def _best(choices: tuple[float, ...], learn: Callable[[float], Scoring], shots: Shots) -> Scoring:
    """The choice that is right about most held rows; of equals the least; without rows the middle one."""
    if not len(shots.held_z):
        return learn(choices[len(choices) // 2])
    learned = [learn(each) for each in choices]
    right = [float((each.scores(shots.held_z).argmax(dim=1) == shots.held_labels).double().mean()) for each in learned]
    return learned[right.index(max(right))]
