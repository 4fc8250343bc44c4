"""Zero-shot classification: each class is the mean of its prompts' embeddings."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Bench, Example, Report, Rows, Shown, constant_like, proportion, shuffled
from mmcontrast.evaluate.ranks import Similarity, rank_first, top_order
from mmcontrast.geometry.base import Geometry

GALLERY = 12  # examples kept for the report
MOST_CONFUSED = 40  # a confusion table is kept up to this many classes


@EVALUATORS.register("zero_shot")
class ZeroShot:
    """Top-k accuracy over all classes of a source, one class a row.

    Prompts are embedded, normalised and averaged for each class.  With ``group`` the classes are scored one by one,
    and a group (a family of instruments, say) scores as its best class.

    Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.4.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        modality: str = "image"  # image or audio
        label: str = "caption"  # JSON field that holds a row's class name
        group: str | None = None  # JSON field that groups classes; then groups are what is predicted
        prompts: tuple[str, ...] = ("{}",)  # {} is the class name
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        top: tuple[Count, ...] = (1, 5)
        title: str = ""  # heading in reports

    def __init__(self, config: Any) -> None:
        self.config = config

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows, z = bench.media(config.source, config.where, config.modality)
        names = rows.field(config.label)
        classes = sorted(set(names))
        prompts = [prompt.replace("{}", name) for name in classes for prompt in config.prompts]
        class_z = {
            who: class_means(points, len(config.prompts), bench.encoders[who].geometry)
            for who, points in bench.texts(prompts).items()
        }
        answers, group_of = classes, torch.arange(len(classes))
        if config.group:
            parents = dict(zip(names, rows.field(config.group), strict=True))
            answers = sorted(set(parents.values()))
            group_of = torch.tensor([answers.index(parents[name]) for name in classes])
        ids = group_of[torch.tensor([classes.index(name) for name in names])]
        answer_ids = torch.arange(len(answers))
        similarity = {
            who: partial(best_of_group, encoder.geometry.similarity, group_of, len(answers))
            for who, encoder in bench.encoders.items()
        }

        def rank(who: str, points: Tensor, wanted: Tensor) -> Any:
            return rank_first(points, class_z[who], wanted, answer_ids, similarity=similarity[who])

        ranks = rank("trained", z["trained"], ids)
        controls = {
            "shuffled": rank("trained", z["trained"], shuffled(ids)),
            "constant": rank("trained", constant_like(z["trained"]), ids),
            **{who: rank(who, z[who], ids) for who in z if who != "trained"},
        }
        metrics = {
            f"top{k}": proportion(
                ranks.hits(k),
                chance=ranks.chance(k),
                controls={name: float(each.hits(k).mean()) for name, each in controls.items()},
            )
            for k in config.top
        }
        best = top_order(
            z["trained"], class_z["trained"], ids, answer_ids, k=min(5, len(answers)), similarity=similarity["trained"]
        )
        return Report(
            evaluator="zero_shot",
            title=config.title,
            metrics=metrics,
            primary=f"top{config.top[0]}",
            num_rows=len(ids),
            missing=rows.missing,
            facts={
                "classes": len(answers),
                "prompts": list(config.prompts),
                "tie_rate": ranks.tie_rate(),
                "expected_top1": ranks.expected(1),
            },
            classes=per_class(answers, ids, best.positions[:, 0]),
            confusion=confusion(answers, ids, best.positions[:, 0]),
            gallery=gallery(rows, config.modality, answers, ids, best.positions),
        )


def class_means(points: Tensor, prompts: int, geometry: Geometry) -> Tensor:
    """Average each class's prompts on the geometry: (C * P, D) -> (C, D)."""
    if prompts == 1:
        return points
    return torch.stack([geometry.mean(each) for each in points.split(prompts)])


def best_of_group(
    similarity: Similarity, group_of: Tensor, groups: int, queries: Tensor, targets: Tensor
) -> Tensor:
    """Scores of groups: each the highest of its classes' (Q, C) -> (Q, groups)."""
    scores = similarity(queries, targets)
    result = scores.new_full((len(scores), groups), -torch.inf)
    return result.scatter_reduce(1, group_of[None].expand(len(scores), -1), scores, reduce="amax")


def per_class(answers: list[str], ids: Tensor, predicted: Tensor) -> dict[str, tuple[float, int]]:
    """Accuracy and number of rows of every class."""
    right = (predicted == ids).double()
    counts = torch.bincount(ids, minlength=len(answers))
    hits = torch.bincount(ids, weights=right, minlength=len(answers))
    return {
        name: (float(hit / count), int(count))
        for name, hit, count in zip(answers, hits, counts, strict=True)
        if count > 0
    }


def confusion(answers: list[str], ids: Tensor, predicted: Tensor) -> dict[str, Any] | None:
    """Counts of (true, predicted), for few classes."""
    if len(answers) > MOST_CONFUSED:
        return None
    size = len(answers)
    counts = torch.bincount(ids * size + predicted, minlength=size * size).view(size, size)
    return {"names": answers, "counts": counts.tolist()}


def gallery(rows: Rows, modality: str, answers: list[str], ids: Tensor, best: Tensor) -> list[Example]:
    """Some rows with the answers the model gives them: every so many rows, right or wrong."""
    examples = []
    for position in range(0, len(ids), max(1, len(ids) // GALLERY)):
        wanted = int(ids[position])
        shown = [Shown(kind="text", content=answers[int(a)], right=int(a) == wanted) for a in best[position]]
        query = rows.shown(position, modality, caption=answers[wanted])
        examples.append(Example(query=query, answers=shown, right=int(best[position][0]) == wanted))
    return examples[:GALLERY]
