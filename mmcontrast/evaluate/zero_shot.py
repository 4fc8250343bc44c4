"""Zero-shot classification: each class is the mean of its prompts' embeddings."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import (
    Evaluator,
    Example,
    Metric,
    PerItem,
    Report,
    Shown,
    above_pool,
    constant_like,
    mean_of,
    proportion,
    shuffled,
    spread_out,
    worst,
)
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import by_length
from mmcontrast.evaluate.classifier import FROM_SOURCE, chosen_prompts, class_points, classes_of
from mmcontrast.evaluate.learners.transport import transport_ranks
from mmcontrast.evaluate.metrics.classification import (
    class_weights,
    confusion_counts,
    majority_share,
    most_confused,
    per_class,
)
from mmcontrast.evaluate.metrics.ranks import Ranks, Similarity, TopOrder, rank_first, top_order
from mmcontrast.evaluate.names import PromptSet, checked, prompt_set

MOST_CLASSES = 40  # a confusion map is kept up to this many classes
UNBALANCED = 2.0  # ratio of rows between classes from which the mean recall is told
BALANCED = "top1 balanced"  # the metric of all rows assigned at once
EMPTY_NAMED = 5  # classes without rows that a note names
CONFUSED = 12  # most frequent mistakes kept


@EVALUATORS.register("zero_shot")
class ZeroShot(Evaluator):
    """Top-k accuracy over all classes of a source, one class a row.

    Prompts are embedded, and averaged on the geometry for each class.  With ``group`` the classes are scored one by
    one, and a group (a family of instruments, say) scores as its best class.  ``mean_recall`` is the mean over the
    answers of their own accuracy; it is left out where no answer has twice the rows of another: it is near top1 there.

    Classes are all those that the source lists, else those of its rows.  The control ``text_length`` always answers
    with the longest name.

    With ``class_prior``, ``top1 balanced`` assigns all rows together by optimal transport, so that each answer comes
    as often as the prior says.  It is transductive: a row's answer depends on the other test rows, and with
    ``observed`` on their labels, so it does not compare with top1 of other papers.

    Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.4; balanced: Shin et al. 2024, arXiv:2404.08461.
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        modality: str = "image"  # image or audio
        label: str = "caption"  # JSON field that holds a row's class name; a caption makes each caption a class
        group: str | None = None  # JSON field that groups classes; then groups are what is predicted
        prompts: tuple[str, ...] = ("{}",)  # {} is the class name
        prompt_set: str | None = (
            None  # in place of prompts: a shipped set, a json file, open_clip:imagenet, or "source"
        )
        cluster: str | None = None  # JSON field: rows of equal value (sounds of one instrument) widen the interval
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        top: tuple[Count, ...] = (1, 5)
        class_prior: Literal["uniform", "observed"] | None = (
            None  # also assign all rows at once, each class as often as equal shares, or the true ones, say
        )
        examples: NonNegativeCount = 9  # rows shown in reports
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            try:
                checked(self.prompts, where="prompts")
                if self.prompt_set not in (None, FROM_SOURCE):
                    prompt_set(self.prompt_set)
            except ConfigError as error:
                raise ValueError(str(error)) from error

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return (*(f"top{k}" for k in config.top), "mean_recall", *([BALANCED] if config.class_prior else []))

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows, z = bench.media(config.source, config.where, config.modality)
        names = rows.field(config.label)
        task = _Task.of(bench, config, rows, names)
        ranks = task.rank("trained", z["trained"], task.ids)
        controls = {
            "shuffled": task.rank("trained", z["trained"], shuffled(task.ids)),
            "constant": task.rank("trained", constant_like(z["trained"]), task.ids),
            "text_length": task.rank_by_length(),
            **{who: task.rank(who, z[who], task.ids) for who in z if who != "trained"},
        }
        best = top_order(
            z["trained"],
            task.class_z["trained"],
            task.ids,
            torch.arange(len(task.answers)),
            k=min(5, len(task.answers)),
            similarity=task.similarity["trained"],
        )
        predicted, metrics = best.positions[:, 0], task.metrics(ranks, controls)
        balanced, assigned = task.balanced(z)
        return self.report(
            metrics=metrics | task.mean_recall(predicted) | balanced,
            primary=f"top{config.top[0]}",
            num_rows=len(task.ids),
            missing=rows.missing,
            notes=[*above_pool(config.top, len(task.answers), of="classes"), *task.empty()],
            facts={
                "classes": len(task.answers),
                "classes_without_rows": len(task.answers) - len(task.ids.unique()),
                "prompts": list(task.prompts.templates) or [f"{task.prompts.name}: written for each class"],
                "prompt_set_sha256": task.prompts.sha256(),
                "tie_rate": ranks.tie_rate(),
                "expected_top1_ties_at_random": ranks.expected(1),
                "mean_reciprocal_rank": float(ranks.reciprocal().mean()),
                **task.transductive(),
            },
            classes=per_class(task.answers, task.ids, predicted),
            confusion=_confusion(task.answers, task.ids, predicted),
            confused=most_confused(task.answers, task.ids, predicted, keep=CONFUSED),
            gallery=_gallery(rows, config, task, best, ranks, spread_out(len(task.ids), config.examples)),
            failures=_gallery(rows, config, task, best, ranks, worst(ranks.first, ranks.first > 1, config.examples)),
            per_item=[
                PerItem(
                    keys=rows.keys(),
                    values={f"top{k}": ranks.hits(k).tolist() for k in config.top} | assigned,
                    clusters=rows.field(config.cluster) if config.cluster else rows.keys(),
                )
            ],
        )


class _Task:
    """Classes, their embeddings for each encoder, and the right answer of every row."""

    def __init__(
        self, config: Any, answers: list[str], ids: Tensor, clusters: Tensor, class_z: dict[str, Tensor],
        similarity: dict[str, Similarity], prompts: PromptSet,
    ) -> None:  # fmt: skip
        self.config, self.answers, self.ids, self.clusters, self.prompts = config, answers, ids, clusters, prompts
        self.class_z, self.similarity = class_z, similarity

    @staticmethod
    def of(bench: Bench, config: Any, rows: Rows, names: list[str]) -> _Task:
        """Embed the prompts of every class."""
        classes = classes_of(rows, names, only_seen=config.group is not None)
        place = {name: number for number, name in enumerate(classes)}
        prompts = chosen_prompts(config.prompts, config.prompt_set, rows)
        class_z = class_points(bench, prompts, classes)
        class_ids = torch.tensor([place[name] for name in names])
        answers, group_of = classes, torch.arange(len(classes))
        if config.group:
            parents = dict(zip(names, rows.field(config.group), strict=True))
            answers = sorted(set(parents.values()))
            group_of = torch.tensor([answers.index(parents[name]) for name in classes])
        similarity: dict[str, Similarity] = {
            who: partial(best_of_group, bench.similarity(who), group_of, len(answers)) for who in bench.encoders
        }
        clusters = rows.field(config.cluster) if config.cluster else rows.keys()
        _, cluster_ids = np.unique(clusters, return_inverse=True)
        return _Task(config, answers, group_of[class_ids], torch.from_numpy(cluster_ids), class_z, similarity, prompts)

    def rank(self, who: str, points: Tensor, wanted: Tensor) -> Ranks:
        """Rank the right answers of rows that have these embeddings."""
        targets = torch.arange(len(self.answers))
        return rank_first(points, self.class_z[who], wanted, targets, similarity=self.similarity[who])

    def rank_by_length(self) -> Ranks:
        """Rank the right answers among all answers by the length of their names."""
        blank, targets = torch.zeros(len(self.ids), 1), torch.arange(len(self.answers))
        return rank_first(
            blank, torch.zeros(len(self.answers), 1), self.ids, targets, similarity=by_length(self.answers)
        )

    def metrics(self, ranks: Ranks, controls: dict[str, Ranks]) -> dict[str, Metric]:
        """Top-k accuracy with its controls."""
        found = {}
        for k in self.config.top:
            values = {name: float(each.hits(k).mean()) for name, each in controls.items()}
            if k == 1:
                values["majority"] = majority_share(self.ids)
            found[f"top{k}"] = proportion(
                ranks.hits(k), chance=ranks.chance(k), controls=values, clusters=self.clusters
            )
        return found

    def balanced(self, z: dict[str, Tensor]) -> tuple[dict[str, Metric], dict[str, list[float]]]:
        """Top-1 accuracy, and each row's, of all rows assigned at once under the prior, where one is asked for."""
        if self.config.class_prior is None:
            return {}, {}
        shares = torch.bincount(self.ids, minlength=len(self.answers)).double()
        prior = shares if self.config.class_prior == "observed" else torch.ones_like(shares)

        def hits(who: str, points: Tensor, right: Tensor) -> Tensor:
            scores = self.similarity[who](points, self.class_z[who])
            return (transport_ranks(scores, right, prior) == 1).float()

        controls = {
            "shuffled": hits("trained", z["trained"], shuffled(self.ids)),
            "constant": hits("trained", constant_like(z["trained"]), self.ids),
            **{who: hits(who, z[who], self.ids) for who in z if who != "trained"},
        }
        share, found = prior / prior.sum(), hits("trained", z["trained"], self.ids)
        metric = proportion(
            found,
            chance=float((share * shares / shares.sum()).sum()),
            controls={who: float(each.mean()) for who, each in controls.items()},
            clusters=self.clusters,
        )
        return {BALANCED: metric}, {BALANCED: found.tolist()}

    def empty(self) -> list[str]:
        """A note on the classes that no row has."""
        seen = set(self.ids.tolist())
        names = [name for number, name in enumerate(self.answers) if number not in seen]
        some = ", ".join(names[:EMPTY_NAMED]) + (", ..." if len(names) > EMPTY_NAMED else "")
        return [f"classes without a row, {len(names):,} of {len(self.answers):,}: {some}"] if names else []

    def transductive(self) -> dict[str, str]:
        """What to know of the balanced metric, for the result's facts."""
        if self.config.class_prior is None:
            return {}
        prior = "equal shares of the classes" if self.config.class_prior == "uniform" else "the test labels' shares"
        return {"transductive": f"'{BALANCED}' assigns all {len(self.ids):,} test rows together, knowing {prior}"}

    def mean_recall(self, predicted: Tensor) -> dict[str, Metric]:
        """Mean of the answers' own accuracies, where it differs from accuracy."""
        weights = class_weights(self.ids)
        if weights.max() < UNBALANCED * weights.min():
            return {}
        hits = (predicted == self.ids).float() * weights
        return {"mean_recall": mean_of(hits, clusters=self.clusters, controls={})}


def best_of_group(similarity: Similarity, group_of: Tensor, groups: int, queries: Tensor, targets: Tensor) -> Tensor:
    """Scores of groups: each the highest of its classes' (Q, C) -> (Q, groups)."""
    scores = similarity(queries, targets)
    result = scores.new_full((len(scores), groups), -torch.inf)
    return result.scatter_reduce(1, group_of[None].expand(len(scores), -1), scores, reduce="amax")


def _confusion(answers: list[str], ids: Tensor, predicted: Tensor) -> dict[str, Any] | None:
    if len(answers) > MOST_CLASSES:
        return None
    return {"names": answers, "counts": confusion_counts(ids, predicted, classes=len(answers)).tolist()}


def _gallery(rows: Rows, config: Any, task: _Task, best: TopOrder, ranks: Ranks, numbers: list[int]) -> list[Example]:
    examples = []
    for number in numbers:
        shown = [
            Shown(kind="text", caption=task.answers[int(place)], right=bool(right), score=float(score))
            for place, right, score in zip(
                best.positions[number], best.right[number], best.scores[number], strict=True
            )
        ]
        query = rows.shown(number, config.modality, caption=task.answers[int(task.ids[number])])
        examples.append(Example(query=query, answers=shown, rank=int(ranks.first[number])))
    return examples
