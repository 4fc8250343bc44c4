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

    Classes that no row has are left out of the mean and counted.  The field ``label`` of a row is a list.
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # where the rows are
        modality: str = "audio"  # image or audio
        label: str = "labels"  # field with the list of a row's classes
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
        classes, labels = _labels(rows, config.label)
        prompts = chosen_prompts(config.prompts, config.prompt_set, rows)
        class_z = class_points(bench, prompts, classes)

        def scored(who: str, points: Tensor) -> Tensor:
            return bench.similarity(who)(points, class_z[who]).float()

        scores = scored("trained", z["trained"])
        found = average_precisions(scores, labels)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        controls = {
            "shuffled": average_precisions(scores, labels[order]).macro,
            "constant": average_precisions(scored("trained", constant_like(z["trained"])), labels).macro,
            "text_length": average_precisions(by_length(classes)(z["trained"], class_z["trained"]), labels).macro,
            **{who: average_precisions(scored(who, z[who]), labels).macro for who in z if who != "trained"},
        }
        low, high = _interval(scores, labels)
        positive = found.positives > 0
        return self.report(
            metrics={
                "mAP": Metric(
                    value=found.macro,
                    low=low,
                    high=high,
                    method=f"bootstrap over rows, {DRAWS} draws",
                    count=len(labels),
                    chance=float((found.positives[positive] / len(labels)).mean()),
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


def _labels(rows: Rows, field: str) -> tuple[list[str], Bool[Tensor, "N C"]]:
    """The classes, and which of them each row has.

    Raises:
        ConfigError: a row holds no list, or an unknown class.
    """
    lists = rows.values(field)
    if not all(isinstance(each, list) for each in lists):
        raise ConfigError(f"'{rows.source}': '{field}' should hold a list of classes in every row.")
    classes = list(rows.collection.classes) or sorted({name for each in lists for name in each})
    place = {name: number for number, name in enumerate(classes)}
    labels = torch.zeros(len(lists), len(classes), dtype=torch.bool)
    for row, names in enumerate(lists):
        for name in names:
            if name not in place:
                raise ConfigError(f"'{rows.source}' row '{rows.items[row].key}': '{name}' is no known class.")
            labels[row, place[name]] = True
    return classes, labels


def _interval(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """95% percentile interval of mAP over draws of rows; classes that a draw misses leave that draw's mean."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(DRAWS):
        chosen = torch.from_numpy(rng.integers(0, len(labels), size=len(labels)))
        if labels[chosen].any():
            values.append(average_precisions(scores[chosen], labels[chosen]).macro)
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
