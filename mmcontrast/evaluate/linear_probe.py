"""Linear probe: logistic regression on frozen embeddings, its strength swept on held-out rows."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.learners.logistic import fit_logistic, sweep
from mmcontrast.evaluate.metrics.classification import per_class
from mmcontrast.evaluate.supervised import Fold, folds_of, label_ids, majority, over_folds, per_row, unused


@EVALUATORS.register("linear_probe")
class LinearProbe(Evaluator):
    """Top-1 accuracy of a linear classifier learned on the embeddings of other rows, over official folds where given.

    On texts this is a text probe: what a linear read-out finds in the text tower.  The probe sees embeddings of the
    shared space, after the head.  One cluster of training rows in five chooses the strength; the classifier is then
    fitted on all of them.

    Source: Radford et al. 2021, arXiv:2103.00020, appendix A.3.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # rows to be judged by
        train_source: str | None = None  # rows to learn from; null: the other folds of source
        modality: Literal["image", "audio", "text"] = "image"
        label: str = "label"  # field of the class
        text_field: str = "text"  # field that is embedded when the modality is text
        fold: str | None = None  # field of the official fold
        cluster: str | None = None  # field: rows of equal value stay together and widen the interval
        where: dict[str, str] = {}  # keep rows whose field has this value
        train_where: dict[str, str] = {}  # the same for train_source
        title: str = ""  # heading in reports

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return ("top1",)

    def run(self, bench: Bench) -> Report:
        """Learn and judge, for the trained encoder and the untrained one."""
        classes, folds = folds_of(bench, self.config)
        found = {who: [_predict(fold, classes, who) for fold in folds] for who in bench.encoders}
        truth = [label_ids(classes, fold.judged.names)[fold.test] for fold in folds]
        hits = {
            who: [(predicted == true).float() for (predicted, _), true in zip(each, truth, strict=True)]
            for who, each in found.items()
        }
        controls = {who: _mean(each) for who, each in hits.items() if who != "trained"}
        controls["majority"] = controls["constant"] = majority(folds, classes)
        metric = over_folds(hits["trained"], folds, chance=1 / len(classes), controls=controls)
        return self.report(
            metrics={"top1": metric},
            num_rows=len(torch.cat(truth)),
            missing=unused(folds),
            facts={
                "classes": len(classes),
                "training_rows": sum(len(fold.train) + len(fold.held) for fold in folds) / len(folds),
                "inverse_strength": {fold.name: strength for fold, (_, strength) in zip(
                    folds, found["trained"], strict=True)},
                "folds": {fold.name: float(each.mean()) for fold, each in zip(folds, hits["trained"], strict=True)},
            },
            classes=per_class(classes, torch.cat(truth), torch.cat([each for each, _ in found["trained"]])),
            per_item=per_row(folds, {"top1": torch.cat(hits["trained"])}),
        )  # fmt: skip


def _predict(fold: Fold, classes: list[str], who: str) -> tuple[Tensor, float]:
    """Predicted classes of a fold's test rows, and the strength that was chosen."""
    z, labels = fold.known.z[who], label_ids(classes, fold.known.names)
    chosen = sweep(z[fold.train], labels[fold.train], z[fold.held], labels[fold.held], classes=len(classes))
    everything = torch.cat([fold.train, fold.held])
    head = fit_logistic(
        z[everything], labels[everything], classes=len(classes), inverse_strength=chosen.inverse_strength
    )
    return head.scores(fold.judged.z[who][fold.test]).argmax(dim=1), chosen.inverse_strength


def _mean(hits: list[Tensor]) -> float:
    return sum(float(each.mean()) for each in hits) / len(hits)
