"""Analogies across modalities: a picture, plus what it should become, less what it is, lies near which picture?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import NonNegativeCount, config
from mmcontrast.errors import MissingData
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.arithmetic import projected
from mmcontrast.evaluate.asked import Asked
from mmcontrast.evaluate.base import (
    Evaluator,
    Example,
    Metric,
    PerItem,
    Report,
    constant_like,
    proportion,
    spread_out,
    worst,
)
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.classifier import class_means
from mmcontrast.evaluate.metrics.among import Among, Pools
from mmcontrast.evaluate.supervised import cluster_ids

ANSWERS = 5  # shown to each example


@EVALUATORS.register("analogies")
class Analogies(Evaluator):
    """Share of changes whose nearest picture, the one that is changed apart, is right: a : b :: c : d.

    The query is the picture's embedding plus ``strength`` times (embedding of the new word less that of the old one).
    Texts are embedded within ``prompts``.  Queries count with the reader's weights.  ``image_only`` asks with the
    picture as it is, ``text_only`` with the change alone: a model that passes with either makes no analogy.

    Source: Couairon et al. 2022, arXiv:2112.03162, section 3 (SIMAT; their strength is 1 unless tuned).
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # simat:FOLDER, or a YAML file of that reader
        modality: str = "image"  # of what is changed: image or audio
        prompts: tuple[str, ...] = ("{}",)  # {} is the word
        strength: tuple[float, ...] = (1.0,)  # of the change; one metric each
        examples: NonNegativeCount = 6  # queries shown in reports
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if not self.strength or any("{}" not in each for each in self.prompts):
                raise ValueError("strength: give at least one; prompts: every prompt needs a {}.")

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(f"accuracy, strength {each:g}" for each in config.strength)

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        rows, z = bench.media(self.config.source, {}, self.config.modality)
        asked = _answerable(Asked(rows).needing("reference"))
        references = asked.places("reference")
        pools = Pools(len(rows.items), [query["targets"] for query in asked.queries], [[each] for each in references])
        weights = torch.tensor([query["weight"] for query in asked.queries], dtype=torch.float64)
        change = self._changes(bench, asked)

        def ranked(who: str, strength: float, *, picture: float = 1.0) -> Among:
            query = projected(bench, who, picture * z[who][references] + strength * change[who])
            return pools.rank(query, z[who], similarity=bench.similarity(who), shown=ANSWERS)

        def share(found: Among) -> float:
            return float(found.hits(1).double() @ weights / weights.sum())

        chance = float(pools.chance(1).double() @ weights / weights.sum())
        blank = constant_like(z["trained"])
        constant = share(pools.rank(blank[references], blank, similarity=bench.similarity("trained")))
        clusters, found = cluster_ids([query["reference"] for query in asked.queries]), {}
        metrics: dict[str, Metric] = {}
        for name, strength in zip(self.metric_names(self.config), self.config.strength, strict=True):
            found[name] = ranked("trained", strength)
            controls = {
                "image_only": share(ranked("trained", 0.0)),
                "text_only": share(ranked("trained", strength, picture=0.0)),
                "constant": constant,
                **{who: share(ranked(who, strength)) for who in z if who != "trained"},
            }
            metrics[name] = proportion(
                found[name].hits(1), clusters=clusters, weights=weights, controls=controls, chance=chance
            )
        first = next(iter(found.values()))
        return self.report(
            metrics=metrics,
            num_rows=len(asked.queries),
            missing=asked.missing,
            facts={
                "pool": len(rows.items),
                "right_answers_per_query": sum(map(len, pools.right)) / len(pools.right),
                "tie_rate": float(first.tied.double().mean()),
                "prompts": list(self.config.prompts),
            },
            gallery=_gallery(rows, asked, first, self.config, spread_out(len(asked.queries), self.config.examples)),
            failures=_gallery(
                rows, asked, first, self.config, worst(first.first, first.first > 1, self.config.examples)
            ),
            per_item=[
                PerItem(
                    keys=asked.keys(),
                    values={name: each.hits(1).tolist() for name, each in found.items()},
                    clusters=[query["reference"] for query in asked.queries],
                )
            ],
        )

    def _changes(self, bench: Bench, asked: Asked) -> dict[str, Tensor]:
        """New word less old word of every query, for each encoder: (Q, D)."""
        words = sorted({query[side] for query in asked.queries for side in ("plus", "minus")})
        prompts = self.config.prompts
        points = bench.texts([prompt.replace("{}", word) for word in words for prompt in prompts])
        place = {word: number for number, word in enumerate(words)}
        changes = {}
        for who, each in points.items():
            mean = class_means(each, [len(prompts)] * len(words), bench.encoders[who].geometry)
            plus, minus = ([place[query[side]] for query in asked.queries] for side in ("plus", "minus"))
            changes[who] = mean[plus] - mean[minus]
        return changes


def _answerable(asked: Asked) -> Asked:
    """Number the targets, and leave out queries without one: the changed picture was never taken, or is damaged."""
    kept = []
    for query in asked.queries:
        targets = [asked.place[key] for key in query["targets"] if key in asked.place and key != query["reference"]]
        if targets:
            kept.append({**query, "targets": targets})
        else:
            asked.missing.append(f"query '{query['key']}': no right picture is there to be found")
    if not kept:
        raise MissingData(f"no analogy has a right picture; the first: {asked.missing[-1]}")
    asked.queries = kept
    return asked


def _gallery(rows: Rows, asked: Asked, found: Among, config: Any, numbers: list[int]) -> list[Example]:
    examples = []
    for number in numbers:
        query = asked.queries[number]
        answers = [
            rows.shown(
                int(place), config.modality, caption=rows.items[int(place)].info.get("caption", ""),
                right=int(place) in query["targets"], score=float(score),
            )
            for place, score in zip(found.best[number], found.scores[number], strict=True)
            if torch.isfinite(score)
        ]  # fmt: skip
        shown = rows.shown(
            asked.place[query["reference"]], config.modality, caption=f"{query['minus']} -> {query['plus']}"
        )
        examples.append(Example(query=shown, answers=answers, rank=int(found.first[number])))
    return examples
