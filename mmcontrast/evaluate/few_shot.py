"""Few-shot classification: a handful of rows a class, several heads, several draws."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report, mean_of
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.classifier import class_points
from mmcontrast.evaluate.learners.logistic import Linear, fit_logistic
from mmcontrast.evaluate.learners.near_zero_shot import fit_near_zero_shot
from mmcontrast.evaluate.learners.pair_tuned import fit_pair_tuned
from mmcontrast.evaluate.names import PromptSet
from mmcontrast.evaluate.supervised import Fold, cluster_ids, folds_of, label_ids, majority, unused

RADII = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
HELD_SHOTS = 4  # rows a class, at most, that choose radius or strength


@EVALUATORS.register("few_shot")
class FewShot(Evaluator):
    """Top-1 accuracy after k rows a class, for three heads on frozen embeddings.

    ``logistic`` is a plain probe; ``near_zero_shot`` starts at the prompts' embeddings and may not leave a ball around
    them (DiHT); ``pair_tuned`` learns a linear map on pairs first (SetFit).  Up to four more rows a class choose the
    strength or radius.  Each number is the mean over draws of the shots.

    Source: Radenovic et al. 2023, arXiv:2301.02280; Tunstall et al. 2022, arXiv:2209.11055; validation shots as in
    Zhou et al. 2022, arXiv:2109.01134.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # rows to be judged by
        train_source: str | None = None  # rows to draw shots from; null: the other folds of source
        modality: Literal["image", "audio"] = "image"
        label: str = "label"  # field of the class
        fold: str | None = None  # field of the official fold; the first fold is judged
        cluster: str | None = None  # field: rows of equal value widen the interval
        where: dict[str, str] = {}  # keep rows whose field has this value
        train_where: dict[str, str] = {}  # the same for train_source
        prompts: tuple[str, ...] = ("{}",)  # of near_zero_shot; {} is the class name
        shots: tuple[Count, ...] = (1, 4, 16)
        heads: tuple[Literal["logistic", "near_zero_shot", "pair_tuned"], ...] = ("logistic", "near_zero_shot")
        draws: Count = 3
        title: str = ""  # heading in reports

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return (config.modality, "text") if "near_zero_shot" in config.heads else (config.modality,)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(f"{head} {k}-shot" for head in config.heads for k in config.shots)

    def run(self, bench: Bench) -> Report:
        """Draw, learn and judge."""
        config = self.config
        classes, folds = folds_of(bench, config)
        fold, labels = folds[0], label_ids(classes, folds[0].known.names)
        truth = label_ids(classes, fold.judged.names)[fold.test]
        class_z = None
        if "near_zero_shot" in config.heads:
            class_z = class_points(bench, PromptSet("own", config.prompts), classes)["trained"]
        clusters = cluster_ids([fold.judged.clusters[int(row)] for row in fold.test])
        controls = {"constant": majority([fold], classes)}
        metrics: dict[str, Metric] = {}
        fewest: dict[int, int] = {}
        for k in config.shots:
            drawn = [_draw(fold, labels, len(classes), k, seed) for seed in range(config.draws)]
            fewest[k] = min(int(torch.bincount(labels[shots]).min()) for shots, _ in drawn)
            for head in config.heads:
                right = torch.zeros(len(truth), dtype=torch.float64)
                for seed, (shots, held) in enumerate(drawn):
                    learned = _fit(head, fold, labels, shots, held, class_z, len(classes), seed)
                    right += (learned.scores(fold.judged.z["trained"][fold.test]).argmax(dim=1) == truth).double()
                found = mean_of(right / config.draws, clusters=clusters, controls=controls)
                metrics[f"{head} {k}-shot"] = Metric(**{**found.__dict__, "chance": 1 / len(classes)})
        return self.report(
            metrics=metrics,
            num_rows=len(truth),
            missing=unused([fold]),
            facts={"classes": len(classes), "draws": config.draws, "fewest_shots_of_a_class": fewest},
        )


def _draw(fold: Fold, labels: Tensor, classes: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to learn from, k a class, and up to four others a class to choose by."""
    pool = torch.cat([fold.train, fold.held])
    pool = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    shots, held = [], []
    for number in range(classes):
        mine = pool[labels[pool] == number]
        shots.append(mine[:k])
        held.append(mine[k : k + min(k, HELD_SHOTS)])
    if not sum(len(each) for each in shots):
        raise ConfigError("no row to draw shots from.")
    return torch.cat(shots), torch.cat(held)


def _fit(
    head: str, fold: Fold, labels: Tensor, shots: Tensor, held: Tensor, class_z: Tensor | None, classes: int, seed: int
) -> Linear:
    z = fold.known.z["trained"]

    def learn(strength: float) -> Linear:
        if head == "near_zero_shot":
            assert class_z is not None
            return fit_near_zero_shot(z[shots], labels[shots], class_z, radius=strength)
        if head == "pair_tuned":
            return fit_pair_tuned(z[shots], labels[shots], classes=classes, inverse_strength=strength, seed=seed)
        return fit_logistic(z[shots], labels[shots], classes=classes, inverse_strength=strength)

    choices = RADII if head == "near_zero_shot" else (1.0,) if head == "pair_tuned" else STRENGTHS
    if len(held) == 0 or len(choices) == 1:
        return learn(choices[len(choices) // 2])
    learned = {strength: learn(strength) for strength in choices}
    scores = {
        strength: float((each.scores(z[held]).argmax(dim=1) == labels[held]).double().mean())
        for strength, each in learned.items()
    }
    return learned[min(choices, key=lambda strength: (-scores[strength], strength))]
