"""The few labelled rows that an adapter learns from, and the prompts that it begins at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mmcontrast.config import Count, config
from mmcontrast.downstream.base import About
from mmcontrast.downstream.judging import class_prompts
from mmcontrast.downstream.towers import Towers
from mmcontrast.errors import HeadError
from mmcontrast.evaluate.learners.few_shot_heads import Shots, draw_shots
from mmcontrast.evaluate.supervised import label_ids


@config
class ShotsConfig:
    """Fields of a head that learns from a few labelled rows."""

    source: str  # labelled rows: embeddings, or anything that embed reads
    label: str = "label"  # field of the class
    where: dict[str, str] = {}  # keep rows whose field has this value
    modality: Literal["image", "audio"] = "image"
    prompts: tuple[str, ...] = ("{}",)  # of the zero-shot classifier; {} is the class
    shots: Count = 16  # rows of each class that are learned from; up to four more choose what is left open
    seed: int = 0  # of the draw, the batches and the weights


@dataclass(frozen=True)
class Drawn:
    """Shots of rows, and what the head will say of itself."""

    shots: Shots
    about: About


def drawn_shots(config: ShotsConfig, towers: Towers) -> Drawn:
    """Draw ``config.shots`` rows a class, and up to four others a class to choose by.

    Raises:
        HeadError: one class alone, or no such rows.
    """
    rows = towers.rows(config.source, (config.modality,)).where(config.where).having(config.modality)
    names = rows.field(config.label)
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise HeadError(f"all {len(names):,} rows are of class '{classes[0]}': a classifier needs two.")
    labels, z = label_ids(list(classes), names), rows.z[config.modality]
    learn, held = draw_shots(
        labels, torch.arange(len(labels)), classes=len(classes), shots=config.shots, seed=config.seed
    )
    class_z = class_prompts(towers, classes, config.prompts)
    about = About.of(towers, rows.facts, classes=classes, modality=config.modality, sizes={"shots": len(learn)})
    return Drawn(Shots(z[learn], labels[learn], z[held], labels[held], len(classes), class_z), about)
