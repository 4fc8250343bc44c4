"""Classifiers made of prompts: one point a class, all prompts of all classes embedded in full batches."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.names import PromptSet, checked, prompt_set
from mmcontrast.geometry.base import Geometry

FROM_SOURCE = "source"  # the prompts that come with the files


def chosen_prompts(templates: tuple[str, ...], name: str | None, rows: Rows) -> PromptSet:
    """The prompt set of an evaluator: named, from the source's files, or its own templates.

    Raises:
        ConfigError: the source brings no prompts, or the name is unknown.
    """
    if name is None:
        return PromptSet("own", templates)
    if name != FROM_SOURCE:
        return prompt_set(name)
    if not rows.collection.prompts:
        raise ConfigError(f"'{rows.source}' brings no prompts of its own: name a prompt_set, or give prompts.")
    return PromptSet(FROM_SOURCE, checked(rows.collection.prompts, where=f"prompts of '{rows.source}'"))


def classes_of(rows: Rows, names: list[str], *, only_seen: bool = False) -> list[str]:
    """Every class that the source lists, in its order; without such a list, those of the rows, sorted.

    Raises:
        ConfigError: a row's class is not in the source's list.
    """
    listed = list(rows.collection.classes)
    if not listed or only_seen:
        return sorted(set(names))
    if not set(names) & set(listed):  # another field than the class
        return sorted(set(names))
    unknown = sorted(set(names) - set(listed))
    if unknown:
        raise ConfigError(f"'{rows.source}': '{unknown[0]}' is not among its {len(listed)} classes.")
    return listed


def class_points(bench: Bench, prompts: PromptSet, classes: list[str]) -> dict[str, Tensor]:
    """Embed every class's prompts and average them on the geometry, for each encoder: (C, D)."""
    texts = [prompts.prompts(name) for name in classes]
    counts = [len(each) for each in texts]
    flat = [text for each in texts for text in each]
    return {
        who: class_means(points, counts, bench.encoders[who].geometry) for who, points in bench.texts(flat).items()
    }


def class_means(points: Tensor, counts: list[int], geometry: Geometry) -> Tensor:
    """Average each class's prompts on the geometry: (sum of counts, D) -> (C, D)."""
    if set(counts) == {1}:
        return points
    return torch.stack([geometry.mean(each) for each in points.split(counts)])
