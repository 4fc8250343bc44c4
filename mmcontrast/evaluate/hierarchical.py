"""Zero-shot classification under a hierarchy: right at which level, and how far off where wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, PerItem, Report, constant_like, mean_of, proportion, shuffled
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import by_length
from mmcontrast.evaluate.classifier import chosen_prompts, class_points
from mmcontrast.evaluate.metrics.classification import label_ranks, majority_share
from mmcontrast.evaluate.metrics.ranks import Similarity
from mmcontrast.evaluate.supervised import cluster_ids, label_ids
from mmcontrast.evaluate.zero_shot import best_of_group


@EVALUATORS.register("hierarchical")
class Hierarchical(Evaluator):
    """Top-1 accuracy at every level, a class scoring as its best leaf, and the mean number of levels to a shared one.

    ``distance`` is 0 where the leaf is right, 1 where only its parent is, and the number of levels where nothing is.
    Every leaf must lie under one parent.

    Source: the height of the lowest common ancestor, as in Bertinetto et al. 2020, arXiv:1912.09393, section 4.
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # where the rows are
        levels: tuple[str, ...]  # fields from the finest class to the coarsest
        modality: str = "image"  # image or audio
        prompts: tuple[str, ...] = ("{}",)  # {} is the finest class's name
        prompt_set: str | None = None  # in place of prompts: a shipped set, a json file, or "source"
        cluster: str | None = None  # field: rows of equal value widen the interval
        where: dict[str, str] = {}  # keep rows whose field has this value
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if len(self.levels) < 2:
                raise ValueError("levels: a hierarchy has two or more; zero_shot is for one.")

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return (*(f"top1 {level}" for level in config.levels), "distance")

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows, z = bench.media(config.source, config.where, config.modality)
        levels = _Levels.of(rows, config.levels)
        prompts = chosen_prompts(config.prompts, config.prompt_set, rows)
        class_z = class_points(bench, prompts, levels.leaves)
        clusters = rows.field(config.cluster) if config.cluster else rows.keys()

        def hits(who: str, points: Tensor, similarity: Similarity | None = None) -> list[Tensor]:
            return levels.hits(points, class_z[who], similarity or bench.similarity(who))

        found = hits("trained", z["trained"])
        controls = {
            "shuffled": hits("trained", z["trained"][shuffled(torch.arange(len(rows.items)))]),
            "constant": hits("trained", constant_like(z["trained"])),
            "text_length": hits("trained", z["trained"], by_length(levels.leaves)),
            **{who: hits(who, z[who]) for who in z if who != "trained"},
        }
        return self.report(
            metrics=levels.metrics(found, controls, cluster_ids(clusters)),
            primary=f"top1 {config.levels[0]}",
            num_rows=len(rows.items),
            missing=rows.missing,
            facts={
                "classes": len(levels.leaves),
                "classes_per_level": dict(zip(config.levels, map(len, levels.names), strict=True)),
                "prompts": list(prompts.templates),
            },
            per_item=[
                PerItem(
                    keys=rows.keys(),
                    values={
                        f"top1 {level}": each.float().tolist()
                        for level, each in zip(config.levels, found, strict=True)
                    },
                    clusters=clusters,
                )
            ],
        )


@dataclass(frozen=True)
class _Levels:
    """The hierarchy, and where each row lies in it; one entry a level, the finest first."""

    titles: tuple[str, ...]
    leaves: list[str]
    names: list[list[str]]
    parents: list[Tensor]  # of each leaf: number of the name that it lies under
    truth: list[Tensor]  # of each row: number of its name

    @staticmethod
    def of(rows: Rows, titles: tuple[str, ...]) -> _Levels:
        """Read every level's field.

        Raises:
            ConfigError: a row lacks one, or a leaf lies under two values.
        """
        fields = [rows.field(title) for title in titles]
        leaves = sorted(set(fields[0]))
        found = [_level(fields[0], field, leaves, title) for title, field in zip(titles, fields, strict=True)]
        names = [each for each, _ in found]
        truth = [label_ids(each, field) for each, field in zip(names, fields, strict=True)]
        return _Levels(titles, leaves, names, [parents for _, parents in found], truth)

    def hits(self, points: Tensor, class_z: Tensor, similarity: Similarity) -> list[Tensor]:
        """Whether each row is right at each level, a class scoring as its best leaf."""
        return [
            label_ranks(best_of_group(similarity, parents, len(names), points, class_z), truth) == 1
            for names, parents, truth in zip(self.names, self.parents, self.truth, strict=True)
        ]

    def metrics(self, found: list[Tensor], controls: dict[str, list[Tensor]], clusters: Tensor) -> dict[str, Metric]:
        """Accuracy at every level, and the distance."""
        metrics = {
            f"top1 {title}": proportion(
                found[number].float(),
                chance=1 / len(self.names[number]),
                controls={who: float(each[number].float().mean()) for who, each in controls.items()}
                | {"majority": majority_share(self.truth[number])},
                clusters=clusters,
            )
            for number, title in enumerate(self.titles)
        }
        others = {who: float(_distance(each).mean()) for who, each in controls.items()}
        distance = mean_of(_distance(found), clusters=clusters, controls=others)
        return {**metrics, "distance": replace(distance, unit="number")}


def _level(leaf_of_row: list[str], field: list[str], leaves: list[str], level: str) -> tuple[list[str], Tensor]:
    """Names of a level, and the one that each leaf lies under."""
    under = dict(zip(leaf_of_row, field, strict=True))
    torn = next((leaf for leaf, value in zip(leaf_of_row, field, strict=True) if under[leaf] != value), None)
    if torn is not None:
        raise ConfigError(f"class '{torn}' lies under several values of '{level}'.")
    names = sorted(set(field))
    return names, torch.tensor([names.index(under[leaf]) for leaf in leaves])


def _distance(hits: list[Tensor]) -> Tensor:
    """Levels up to the first one that is right."""
    result = torch.full((len(hits[0]),), float(len(hits)))
    for number in range(len(hits) - 1, -1, -1):
        result[hits[number]] = float(number)
    return result
