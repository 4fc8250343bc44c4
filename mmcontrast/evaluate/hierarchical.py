"""Zero-shot classification under a hierarchy: right at which level, and how far off where wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, PerItem, Report, constant_like, mean_of, proportion, shuffled
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.blind import by_length
from mmcontrast.evaluate.classifier import chosen_prompts, class_points
from mmcontrast.evaluate.metrics.classification import label_ranks, majority_share
from mmcontrast.evaluate.metrics.ranks import Similarity
from mmcontrast.evaluate.supervised import cluster_ids
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
        fields = [rows.field(level) for level in config.levels]
        leaves = sorted(set(fields[0]))
        names, parents = zip(*(_level(fields[0], field, leaves, level) for level, field in
                               zip(config.levels, fields, strict=True)), strict=True)  # fmt: skip
        prompts = chosen_prompts(config.prompts, config.prompt_set, rows)
        class_z = class_points(bench, prompts, leaves)
        truth = [
            torch.tensor([each.index(value) for value in field]) for each, field in zip(names, fields, strict=True)
        ]
        clusters = cluster_ids(rows.field(config.cluster) if config.cluster else rows.keys())

        def hits(who: str, points: Tensor, similarity: Similarity | None = None) -> list[Tensor]:
            scored = similarity or bench.similarity(who)
            return [
                (label_ranks(best_of_group(scored, group, len(each), points, class_z[who]), true) == 1)
                for each, group, true in zip(names, parents, truth, strict=True)
            ]

        found = hits("trained", z["trained"])
        controls = {
            "shuffled": hits("trained", z["trained"][shuffled(torch.arange(len(truth[0])))]),
            "constant": hits("trained", constant_like(z["trained"])),
            "text_length": hits("trained", z["trained"], by_length(leaves)),
        }
        controls |= {who: hits(who, z[who]) for who in z if who != "trained"}
        metrics = {
            f"top1 {level}": proportion(
                found[number].float(),
                chance=1 / len(names[number]),
                controls={who: float(each[number].float().mean()) for who, each in controls.items()}
                | {"majority": majority_share(truth[number])},
                clusters=clusters,
            )
            for number, level in enumerate(config.levels)
        }
        distance = _distance(found)
        metric = mean_of(distance, clusters=clusters, controls={who: float(_distance(each).mean())
                                                               for who, each in controls.items()})  # fmt: skip
        metrics["distance"] = Metric(**{**metric.__dict__, "unit": "number"})
        return self.report(
            metrics=metrics,
            primary=f"top1 {config.levels[0]}",
            num_rows=len(rows.items),
            missing=rows.missing,
            facts={
                "classes": len(leaves),
                "classes_per_level": {level: len(each) for level, each in zip(config.levels, names, strict=True)},
                "prompts": list(prompts.templates),
            },
            per_item=[
                PerItem(
                    keys=rows.keys(),
                    values={f"top1 {level}": each.float().tolist()
                            for level, each in zip(config.levels, found, strict=True)},
                    clusters=rows.field(config.cluster) if config.cluster else rows.keys(),
                )
            ],
        )  # fmt: skip


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
