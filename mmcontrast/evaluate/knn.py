"""Nearest neighbours: classes of the rows whose embeddings are closest."""

from __future__ import annotations

from typing import Any, Literal

import torch

from mmcontrast.config import Count, config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.learners.neighbours import neighbour_votes
from mmcontrast.evaluate.supervised import Fold, folds_of, label_ids, majority, over_folds, per_row, unused


@EVALUATORS.register("knn")
class NearestNeighbours(Evaluator):
    """Top-1 accuracy of weighted votes of the k nearest rows of another source, or of the other folds.

    Nothing is trained, so it says how classes lie, not what a classifier could dig out.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # rows to be judged by
        train_source: str | None = None  # rows with known classes; null: the other folds of source
        modality: Literal["image", "audio", "text"] = "image"
        label: str = "label"  # field of the class
        text_field: str = "text"  # field that is embedded when the modality is text
        fold: str | None = None  # field of the official fold
        cluster: str | None = None  # field: rows of equal value widen the interval
        where: dict[str, str] = {}  # keep rows whose field has this value
        train_where: dict[str, str] = {}  # the same for train_source
        neighbours: tuple[Count, ...] = (1, 20)
        title: str = ""  # heading in reports

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(f"top1, k = {k}" for k in config.neighbours)

    def run(self, bench: Bench) -> Report:
        """Vote, for the trained encoder and the untrained one."""
        classes, folds = folds_of(bench, self.config)
        constant = majority(folds, classes)
        metrics, values = {}, {}
        for k, name in zip(self.config.neighbours, self.metric_names(self.config), strict=True):
            hits: dict[str, list[torch.Tensor]] = {}
            for who in bench.encoders:
                hits[who] = []
                for fold in folds:
                    rows = torch.cat([fold.train, fold.held])
                    votes = neighbour_votes(
                        fold.judged.z[who][fold.test],
                        fold.known.z[who][rows],
                        label_ids(classes, fold.known.names)[rows],
                        classes=len(classes),
                        k=k,
                    )
                    truth = label_ids(classes, fold.judged.names)[fold.test]
                    hits[who].append((votes.argmax(dim=1) == truth).float())
            controls = {
                who: sum(float(each.mean()) for each in found) / len(found)
                for who, found in hits.items()
                if who != "trained"
            }
            metrics[name] = over_folds(
                hits["trained"], folds, chance=1 / len(classes), controls=controls | {"constant": constant}
            )
            values[name] = torch.cat(hits["trained"])
        return self.report(
            metrics=metrics,
            num_rows=sum(len(fold.test) for fold in folds),
            missing=unused(folds),
            notes=_few(self.config.neighbours, folds),
            facts={"classes": len(classes)},
            per_item=per_row(folds, values),
        )


def _few(neighbours: tuple[int, ...], folds: list[Fold]) -> list[str]:
    """A note where there are fewer rows than neighbours asked for."""
    fewest = min(len(fold.train) + len(fold.held) for fold in folds)
    over = [str(k) for k in neighbours if k > fewest]
    return [f"k = {', '.join(over)}: all {fewest:,} rows to learn from vote, there are no more"] if over else []
