"""Zero-shot classification of rows with several classes: mean average precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report, constant_like
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import by_length
from mmcontrast.evaluate.classifier import chosen_prompts, class_points
from mmcontrast.evaluate.metrics.multilabel import average_precisions

DRAWS = 200  # of the bootstrap over rows


@EVALUATORS.register("multi_label")
class MultiLabel(Evaluator):
    """Mean over classes of average precision, rows ranked by their similarity to the class's prompts.

    Classes that no row has are left out of the mean and counted.  The field ``label`` of a row is a list.  With
    ``among``, a row is ranked only for the classes of that other list: COLA's hard rows are those that share a word
    with the class.
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # where the rows are
        modality: str = "audio"  # image or audio
        label: str = "labels"  # field with the list of a row's classes
        among: str | None = None  # field with the list of classes that a row is ranked for; null: all
        prompts: tuple[str, ...] = ("{}",)  # {} is the class name
        prompt_set: str | None = None  # in place of prompts: a shipped set, a json file, or "source"
        where: dict[str, str] = {}  # keep rows whose field has this value
        title: str = ""  # heading in reports

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return ("mAP",)

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows, z = bench.media(config.source, config.where, config.modality)
        classes = _classes(rows, config.label)
        labels = _marked(rows, config.label, classes)
        among = torch.ones_like(labels) if config.among is None else _marked(rows, config.among, classes)
        prompts = chosen_prompts(config.prompts, config.prompt_set, rows)
        class_z = class_points(bench, prompts, classes)

        def scored(who: str, points: Tensor) -> Tensor:
            return bench.similarity(who)(points, class_z[who]).float()

        def precision(scores: Tensor) -> float:
            return average_precisions(scores, labels, among=among).macro

        scores = scored("trained", z["trained"])
        found = average_precisions(scores, labels, among=among)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        controls = {
            "shuffled": average_precisions(scores, labels[order], among=among[order]).macro,
            "constant": precision(scored("trained", constant_like(z["trained"]))),
            "text_length": precision(by_length(classes)(z["trained"], class_z["trained"])),
            **{who: precision(scored(who, z[who])) for who in z if who != "trained"},
        }
        low, high = _interval(scores, labels, among)
        positive = found.positives > 0
        return self.report(
            metrics={
                "mAP": Metric(
                    value=found.macro,
                    low=low,
                    high=high,
                    method=f"bootstrap over rows, {DRAWS} draws",
                    count=len(labels),
                    chance=float((found.positives / among.sum(0))[positive].mean()),
                    controls=controls,
                )
            },
            primary="mAP",
            num_rows=len(labels),
            missing=rows.missing,
            facts={
                "classes": len(classes),
                "classes_without_rows": found.empty,
                "labels_per_row": float(labels.double().sum(1).mean()),
                "tie_rate": found.tie_rate,
                "prompts": list(prompts.templates),
            },
            classes={
                name: (float(value), int(count))
                for name, value, count in zip(classes, found.values, found.positives, strict=True)
                if count > 0
            },
        )


def _classes(rows: Rows, field: str) -> list[str]:
    """The classes in the source's order, or those that rows have."""
    return list(rows.collection.classes) or sorted({name for each in _lists(rows, field) for name in each})


def _lists(rows: Rows, field: str) -> list[list[str]]:
    lists = rows.values(field)
    if not all(isinstance(each, list) for each in lists):
        raise ConfigError(f"'{rows.source}': '{field}' should hold a list of classes in every row.")
    return lists


def _marked(rows: Rows, field: str, classes: list[str]) -> Bool[Tensor, "N C"]:
    """Which of the classes each row's field lists.

    Raises:
        ConfigError: a row holds no list, or an unknown class.
    """
    place = {name: number for number, name in enumerate(classes)}
    marked = torch.zeros(len(rows.items), len(classes), dtype=torch.bool)
    for row, names in enumerate(_lists(rows, field)):
        for name in names:
            if name not in place:
                raise ConfigError(f"'{rows.source}' row '{rows.items[row].key}': '{name}' is no known class.")
            marked[row, place[name]] = True
    return marked


def _interval(scores: Tensor, labels: Tensor, among: Tensor) -> tuple[float, float]:
    """95% percentile interval of mAP over draws of rows; classes that a draw misses leave that draw's mean."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(DRAWS):
        chosen = torch.from_numpy(rng.integers(0, len(labels), size=len(labels)))
        if (labels & among)[chosen].any():
            values.append(average_precisions(scores[chosen], labels[chosen], among=among[chosen]).macro)
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
