"""Ranking products by how well they fit a query, where people or clicks have said how well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.arithmetic import projected
from mmcontrast.evaluate.asked import Asked
from mmcontrast.evaluate.base import Evaluator, Metric, PerItem, Report, constant_like, mean_of
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import by_length
from mmcontrast.evaluate.metrics.graded import (
    Gain,
    expected_reciprocal_rank,
    graded_ndcg,
    ndcg_by_chance,
    rank_biased_precision,
)
from mmcontrast.evaluate.metrics.ranks import TILE_CELLS, Similarity


@EVALUATORS.register("graded_ranking")
class GradedRanking(Evaluator):
    """nDCG, expected reciprocal rank and rank-biased precision of text queries over a pool of products.

    A product is its picture, its text, or the mean of both with given weights, projected again.  Products that were
    not judged for a query have relevance 0 there.  In ``weighted nDCG`` a query counts as much as all its judgements
    add up to, as queries are drawn in the source.

    Source: Zhu et al. 2024, arXiv:2404.08535 (GCL), section 4.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # judgements:FOLDER, or a YAML file of that reader
        fields: dict[Literal["image", "text"], float] = {"image": 1.0}  # what stands for a product -> its weight
        k: Count = 10  # depth of nDCG
        gain: Gain = "linear"  # of nDCG: relevance, or 2^relevance - 1
        depth: Count = 1000  # of expected reciprocal rank and rank-biased precision
        persistence: float = 0.9  # of rank-biased precision
        where: dict[str, str] = {}  # keep products whose field has this value
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if not self.fields or any(weight <= 0 for weight in self.fields.values()):
                raise ValueError("fields: at least one of image and text, with weights above 0.")
            if not 0 < self.persistence < 1:
                raise ValueError(f"persistence: {self.persistence} is not between 0 and 1.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return ("image", "text") if "image" in config.fields else ("text",)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return (f"nDCG@{config.k}", f"weighted nDCG@{config.k}", "ERR", f"RBP {config.persistence:g}")

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        rows, products, titles = _products(bench, self.config)
        asked = Asked(rows).needing()
        judged = _Judged.of(asked)
        texts = bench.texts(judged.texts)
        order = torch.randperm(len(judged.texts), generator=torch.Generator().manual_seed(0))

        def scored(queries: Tensor, pool: Tensor, similarity: Similarity) -> dict[str, Tensor]:
            return self._values(queries, pool, judged, similarity)

        trained, similarity = texts["trained"], bench.similarity("trained")
        found = scored(trained, products["trained"], similarity)
        controls = {
            "shuffled": scored(trained[order], products["trained"], similarity),
            "constant": scored(constant_like(trained), constant_like(products["trained"]), similarity),
            **{name: scored(bags, products["trained"], similarity) for name, bags in bench.bags(judged.texts).items()},
            **{who: scored(texts[who], products[who], bench.similarity(who)) for who in texts if who != "trained"},
        }
        if titles is not None:
            controls["text_length"] = scored(trained, products["trained"], by_length(titles))
        metrics = self._metrics(found, controls, judged)
        return self.report(
            metrics=metrics,
            num_rows=len(judged.texts),
            missing=asked.missing + judged.missing,
            facts={
                "pool": len(rows.items),
                "judgements_per_query": sum(len(each) for each in judged.columns) / len(judged.texts),
                "fields": dict(self.config.fields),
                "gain": self.config.gain,
            },
            per_item=[
                PerItem(
                    keys=judged.keys,
                    values={name: found[name].tolist() for name in found if name != "chance"},
                    clusters=judged.keys,
                )
            ],
        )

    def _values(self, queries: Tensor, products: Tensor, judged: _Judged, similarity: Similarity) -> dict[str, Tensor]:
        """Every measure of every query, a tile of queries at a time."""
        config, (ndcg, _, err, rbp) = self.config, self.metric_names(self.config)
        parts: dict[str, list[Tensor]] = {ndcg: [], err: [], rbp: [], "chance": []}
        for part, relevance in judged.tiles(len(products)):
            scores = similarity(queries[part], products).float()
            parts[ndcg].append(graded_ndcg(scores, relevance, k=config.k, gain=config.gain))
            parts[err].append(expected_reciprocal_rank(scores, relevance, depth=config.depth))
            parts[rbp].append(
                rank_biased_precision(scores, relevance, persistence=config.persistence, depth=config.depth)
            )
            parts["chance"].append(ndcg_by_chance(relevance, k=config.k, gain=config.gain))
        return {name: torch.cat(each) for name, each in parts.items()}

    def _metrics(
        self, found: dict[str, Tensor], controls: dict[str, dict[str, Tensor]], judged: _Judged
    ) -> dict[str, Metric]:
        ndcg, weighted, err, rbp = self.metric_names(self.config)
        clusters, metrics = torch.arange(len(judged.texts)), {}
        for name, values, weights in (
            (ndcg, ndcg, None), (weighted, ndcg, judged.weights), (err, err, None), (rbp, rbp, None),
        ):  # fmt: skip
            metrics[name] = mean_of(
                found[values],
                clusters=clusters,
                weights=weights,
                chance=_mean(found["chance"], weights) if values == ndcg else None,
                controls={who: _mean(each[values], weights) for who, each in controls.items()},
            )
        return metrics


def _mean(values: Tensor, weights: Tensor | None) -> float:
    return float(values.mean() if weights is None else (values * weights).sum() / weights.sum())


@dataclass(frozen=True)
class _Judged:
    """Queries with the relevance of some products."""

    keys: list[str]
    texts: list[str]
    columns: list[list[int]]  # of each query: products
    grades: list[list[float]]  # and how well they fit
    missing: list[str]

    @staticmethod
    def of(asked: Asked) -> _Judged:
        """Leave out what did not decode, and queries for which nothing relevant is left."""
        made, missing = _Judged([], [], [], [], []), []
        for query in asked.queries:
            known = {asked.place[key]: grade for key, grade in query["judged"].items() if key in asked.place}
            if not any(grade > 0 for grade in known.values()):
                missing.append(f"query '{query['key']}': no relevant product is left to be found")
                continue
            made.keys.append(query["key"])
            made.texts.append(query["text"])
            made.columns.append(list(known))
            made.grades.append(list(known.values()))
        if not made.keys:
            raise ConfigError(f"no query has a relevant product; the first: {missing[0]}")
        return _Judged(made.keys, made.texts, made.columns, made.grades, missing)

    @property
    def weights(self) -> Tensor:
        """Sum of each query's grades."""
        return torch.tensor([sum(each) for each in self.grades])

    def tiles(self, products: int) -> Iterator[tuple[slice, Tensor]]:
        """Some queries and their table of relevance (q, products) at a time."""
        rows = max(1, TILE_CELLS // max(1, products))
        for start in range(0, len(self.texts), rows):
            part = slice(start, min(start + rows, len(self.texts)))
            relevance = torch.zeros(part.stop - part.start, products, dtype=torch.float64)
            for row, (columns, grades) in enumerate(zip(self.columns[part], self.grades[part], strict=True)):
                relevance[row, columns] = torch.tensor(grades, dtype=torch.float64)
            yield part, relevance


def _products(bench: Bench, config: Any) -> tuple[Rows, dict[str, Tensor], list[str] | None]:
    """Products, their embeddings for each encoder, and their texts where these are used."""
    weights = config.fields
    if "image" not in weights:
        rows = bench.rows(config.source, config.where)
        titles = rows.field("text")
        return rows, bench.texts(titles), titles
    rows, z = bench.media(config.source, config.where, "image")
    if "text" not in weights:
        return rows, z, None
    titles = rows.field("text")
    words = bench.texts(titles)
    total = sum(weights.values())
    mixed = {
        who: projected(bench, who, (weights["image"] * z[who] + weights["text"] * words[who]) / total) for who in z
    }
    return rows, mixed, titles
