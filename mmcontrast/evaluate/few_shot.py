"""Few-shot classification: a handful of rows a class, several heads, several draws."""

from __future__ import annotations

from typing import Any, Literal

import torch

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report, mean_of
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.classifier import class_points
from mmcontrast.evaluate.learners.few_shot_heads import ADAPTERS, FROM_PROMPTS, HeadName, Shots, draw_shots, fit_head
from mmcontrast.evaluate.names import PromptSet
from mmcontrast.evaluate.supervised import cluster_ids, folds_of, label_ids, majority, unused


@EVALUATORS.register("few_shot")
class FewShot(Evaluator):
    """Top-1 accuracy after k rows a class, for several heads on frozen embeddings.

    ``logistic`` is a plain probe; ``near_zero_shot`` starts at the prompts' embeddings and may not leave a ball around
    them (DiHT); ``pair_tuned`` learns a linear map on pairs first (SetFit); ``tip_adapter`` adds votes of the rows to
    the prompts' scores, ``tip_adapter_f`` tunes them, ``clip_adapter`` moves embeddings by a bottleneck.  Up to four
    more rows a class choose strength, radius or shares.  Each number is the mean over draws of the shots; the control
    ``zero_shot`` is the prompts alone.

    Source: Radenovic et al. 2023, arXiv:2301.02280; Tunstall et al. 2022, arXiv:2209.11055; Zhang et al. 2021,
    arXiv:2111.03930; Gao et al. 2021, arXiv:2110.04544; validation shots as in Zhou et al. 2022, arXiv:2109.01134.
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
        prompts: tuple[str, ...] = ("{}",)  # of heads that begin at zero-shot; {} is the class name
        shots: tuple[Count, ...] = (1, 4, 16)
        heads: tuple[HeadName, ...] = ("logistic", "near_zero_shot")
        draws: Count = 3
        title: str = ""  # heading in reports

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return (config.modality, "text") if set(FROM_PROMPTS) & {*config.heads} else (config.modality,)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(f"{head} {k}-shot" for head in config.heads for k in config.shots)

    def run(self, bench: Bench) -> Report:
        """Draw, learn and judge."""
        config = self.config
        classes, folds = folds_of(bench, config)
        fold, labels = folds[0], label_ids(classes, folds[0].known.names)
        z, truth = fold.known.z["trained"], label_ids(classes, fold.judged.names)[fold.test]
        test_z, class_z = fold.judged.z["trained"][fold.test], None
        clusters = cluster_ids([fold.judged.clusters[int(row)] for row in fold.test])
        controls = {"constant": majority([fold], classes)}
        if set(FROM_PROMPTS) & {*config.heads}:
            adding = sorted({*ADAPTERS} & {*config.heads})
            if adding and not bench.encoders["trained"].geometry.dot_product:
                raise ConfigError(f"{adding[0]} compares by dot products, which this model's geometry does not.")
            class_z = class_points(bench, PromptSet("own", config.prompts), classes)["trained"]
            answers = bench.similarity("trained")(test_z, class_z).argmax(dim=1)
            controls["zero_shot"] = float((answers == truth).double().mean())
        pool = torch.cat([fold.train, fold.held])
        if not len(pool):
            raise ConfigError("no row to draw shots from.")
        metrics: dict[str, Metric] = {}
        fewest: dict[int, int] = {}
        for k in config.shots:
            drawn = [
                draw_shots(labels, pool, classes=len(classes), shots=k, seed=seed) for seed in range(config.draws)
            ]
            fewest[k] = min(int(torch.bincount(labels[shots]).min()) for shots, _ in drawn)
            for head in config.heads:
                right = torch.zeros(len(truth), dtype=torch.float64)
                for seed, (rows, held) in enumerate(drawn):
                    shots = Shots(z[rows], labels[rows], z[held], labels[held], len(classes), class_z)
                    right += (fit_head(head, shots, seed=seed).scores(test_z).argmax(dim=1) == truth).double()
                found = mean_of(right / config.draws, clusters=clusters, controls=controls)
                metrics[f"{head} {k}-shot"] = Metric(**{**found.__dict__, "chance": 1 / len(classes)})
        return self.report(
            metrics=metrics,
            num_rows=len(truth),
            missing=unused([fold]),
            notes=[
                f"{k}-shot: a class has {count} row{'s' if count > 1 else ''} to draw from"
                for k, count in fewest.items()
                if count < k
            ],
            facts={"classes": len(classes), "draws": config.draws, "fewest_shots_of_a_class": fewest},
        )
