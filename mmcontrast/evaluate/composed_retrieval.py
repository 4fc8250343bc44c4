"""Composed retrieval: find a picture by another picture and the change that is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.arithmetic import projected
from mmcontrast.evaluate.asked import Asked
from mmcontrast.evaluate.base import (
    Evaluator,
    Example,
    Metric,
    PerItem,
    Report,
    above_pool,
    constant_like,
    mean_of,
    proportion,
    shuffled,
    spread_out,
    worst,
)
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import bag_of_words
from mmcontrast.evaluate.metrics.among import Among, Pools
from mmcontrast.evaluate.metrics.ranks import Similarity
from mmcontrast.evaluate.supervised import cluster_ids

ANSWERS = 5  # shown to each example
MEANS = (("R@5", "Rs@1"), ("R@10", "R@50"))  # whose mean papers compare: CIRR's, FashionIQ's


@EVALUATORS.register("composed_retrieval")
class ComposedRetrieval(Evaluator):
    """Recall at k of the target picture, asked for with a reference picture plus the text of the change.

    The query is ``text_weight`` times the text's embedding plus the reference's, projected again: the sum of
    CLIP-based baselines.  The protocol is the reader's: CIRR takes the reference out of the pool and also ranks among
    the five others of its group (``Rs@k``); FashionIQ leaves it in.  ``mean`` is (R@5 + Rs@1) / 2 where there are
    groups, else (R@10 + R@50) / 2, which papers then average over FashionIQ's three kinds.  ``image_only`` and
    ``text_only`` are controls: a set that one of them solves asks for no composition.

    Source: Liu et al. 2021, arXiv:2108.04024, section 5; Wu et al. 2021, arXiv:1905.12794; the sum as in
    Baldrati et al. 2022, CVPR workshops (CLIP4Cir).
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # cirr:FOLDER, fashioniq:FOLDER, or a YAML file of these readers
        modality: str = "image"  # of references and targets: image or audio
        text_weight: float = 1.0  # of the text in the sum; the reference has 1
        recall: tuple[Count, ...] = (1, 5, 10, 50)
        subset_recall: tuple[Count, ...] = (1, 2, 3)  # among the candidates that a query lists
        examples: NonNegativeCount = 6  # queries shown in reports
        title: str = ""  # heading in reports

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return (*(f"R@{k}" for k in config.recall), *(f"Rs@{k}" for k in config.subset_recall), "mean")

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        rows, z = bench.media(self.config.source, {}, self.config.modality)
        asked = Asked(rows).needing("reference", "target", "subset", "excluded")
        task = _Task(asked, len(rows.items), self.config)
        captions = [query["text"] for query in asked.queries]
        texts, pictures = bench.texts(captions), asked.places("reference")
        bags = bench.texts([bag_of_words(caption) for caption in captions])["trained"]

        def ranked(who: str, references: Tensor, words: Tensor) -> dict[str, Among]:
            query = projected(bench, who, references + self.config.text_weight * words)
            return task.rank(query, z[who], bench.similarity(who))

        reference, words = z["trained"][pictures], texts["trained"]
        found = ranked("trained", reference, words)
        controls = {
            "image_only": ranked("trained", reference, torch.zeros_like(words)),
            "text_only": ranked("trained", torch.zeros_like(reference), words),
            "shuffled": ranked("trained", reference, words[shuffled(torch.arange(len(words)))]),
            "constant": task.rank(constant_like(words), constant_like(z["trained"]), bench.similarity("trained")),
            "bag_of_words": ranked("trained", reference, bags),
            **{who: ranked(who, z[who][pictures], texts[who]) for who in z if who != "trained"},
        }
        references = [query["reference"] for query in asked.queries]
        values, whole = task.values(found), found["R"]
        return self.report(
            metrics=task.metrics(values, {who: task.values(each) for who, each in controls.items()}, references),
            num_rows=len(captions),
            missing=asked.missing,
            notes=above_pool(self.config.recall, len(rows.items)),
            facts={
                "pool": len(rows.items),
                "reference_left_out": all(query["excluded"] for query in asked.queries),
                "composition": f"reference + {self.config.text_weight:g} text",
                "median_rank": float(whole.first.double().median()),
                "tie_rate": float(whole.tied.double().mean()),
            },
            gallery=_gallery(rows, asked, whole, self.config, spread_out(len(captions), self.config.examples)),
            failures=_gallery(
                rows, asked, whole, self.config, worst(whole.first, whole.first > 1, self.config.examples)
            ),
            per_item=[
                PerItem(
                    keys=asked.keys(),
                    values={name: each.tolist() for name, each in values.items()},
                    clusters=references,
                )
            ],
        )


class _Task:
    """The pools of the queries: everything, and the candidates that they list."""

    def __init__(self, asked: Asked, pool: int, config: Any) -> None:
        targets = [[place] for place in asked.places("target")]
        excluded = [[asked.place[key] for key in query["excluded"]] for query in asked.queries]
        subset = [[asked.place[key] for key in query["subset"]] for query in asked.queries]
        self.pools = {"R": (Pools(pool, targets, excluded), config.recall)}
        if all(subset):
            self.pools["Rs"] = (Pools(pool, targets, excluded, subset), config.subset_recall)

    def rank(self, queries: Tensor, targets: Tensor, similarity: Similarity) -> dict[str, Among]:
        """Rank in each pool."""
        return {
            name: pools.rank(queries, targets, similarity=similarity, shown=ANSWERS)
            for name, (pools, _) in self.pools.items()
        }

    def values(self, found: dict[str, Among]) -> dict[str, Tensor]:
        """Recall at every k, and the mean that papers compare."""
        return _with_mean({f"{name}@{k}": found[name].hits(k) for name, (_, ks) in self.pools.items() for k in ks})

    def metrics(
        self, values: dict[str, Tensor], controls: dict[str, dict[str, Tensor]], references: list[str]
    ) -> dict[str, Metric]:
        """Every metric; queries with one reference are not independent."""
        clusters = cluster_ids(references)
        chances = _with_mean({f"{name}@{k}": pools.chance(k) for name, (pools, ks) in self.pools.items() for k in ks})
        metrics = {}
        for name, each in values.items():
            chance = float(chances[name].mean())
            others = {who: float(hits[name].mean()) for who, hits in controls.items()}
            if name == "mean":
                metrics[name] = mean_of(each, clusters=clusters, controls=others, chance=chance)
            else:
                metrics[name] = proportion(each, chance=chance, controls=others, clusters=clusters)
        return metrics


def _with_mean(values: dict[str, Tensor]) -> dict[str, Tensor]:
    pair = next((pair for pair in MEANS if values.keys() >= set(pair)), None)
    return values if pair is None else values | {"mean": (values[pair[0]] + values[pair[1]]) / 2}


def _gallery(rows: Rows, asked: Asked, found: Among, config: Any, numbers: list[int]) -> list[Example]:
    examples = []
    for number in numbers:
        query = asked.queries[number]
        target = asked.place[query["target"]]
        answers = [
            rows.shown(int(place), config.modality, caption="", right=int(place) == target, score=float(score))
            for place, score in zip(found.best[number], found.scores[number], strict=True)
            if torch.isfinite(score)
        ]
        shown = rows.shown(asked.place[query["reference"]], config.modality, caption=query["text"])
        examples.append(Example(query=shown, answers=answers, rank=int(found.first[number])))
    return examples
