"""Retrieval between two modalities, with any number of right answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import (
    Bench,
    Example,
    Metric,
    Report,
    Rows,
    Shown,
    constant_like,
    proportion,
    shuffled,
)
from mmcontrast.evaluate.intervals import bootstrap
from mmcontrast.evaluate.ranks import Ranks, TopOrder, rank_first, top_order

GALLERY = 6
ANSWERS = 5


@EVALUATORS.register("retrieval")
class Retrieval:
    """Any-hit recall at k, mean average precision at 10 and median rank, from one modality to another.

    A target is right when its value of the JSON field ``match`` equals the query's: every row of the same thing, say.
    Captions are the distinct values of ``caption_field``, so that no caption stands in the pool twice.

    Source: any-hit recall as in Karpathy and Fei-Fei 2015, arXiv:1412.2306, section 4.2.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        query: str = "text"  # modality asked with
        target: str = "image"  # modality asked for
        match: str = "caption"  # JSON field that makes a target right
        caption_field: str = "caption"  # JSON field of the captions
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        recall: tuple[Count, ...] = (1, 5, 10)
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if self.query == self.target:
                raise ValueError("query and target must be two modalities.")

    def __init__(self, config: Any) -> None:
        self.config = config

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        sides = {side: _Side.read(bench, config, modality) for side, modality in
                 (("query", config.query), ("target", config.target))}  # fmt: skip
        query, target = sides["query"], sides["target"]
        names = sorted({*query.match, *target.match})
        query_ids = torch.tensor([names.index(name) for name in query.match])
        target_ids = torch.tensor([names.index(name) for name in target.match])
        answerable = torch.isin(query_ids, target_ids)
        if not answerable.all():
            raise ConfigError(
                f"'{config.source}': {int((~answerable).sum())} queries have no target of equal '{config.match}'."
            )

        def rank(who: str, points: Tensor, wanted: Tensor) -> Ranks:
            similarity = bench.encoders[who].geometry.similarity
            return rank_first(points, target.z[who], wanted, target_ids, similarity=similarity)

        ranks = rank("trained", query.z["trained"], query_ids)
        controls = {
            "shuffled": rank("trained", query.z["trained"], shuffled(query_ids)),
            "constant": rank("trained", constant_like(query.z["trained"]), query_ids),
            **{who: rank(who, query.z[who], query_ids) for who in query.z if who != "trained"},
        }
        metrics = {
            f"R@{k}": proportion(
                ranks.hits(k),
                chance=ranks.chance(k),
                controls={name: float(each.hits(k).mean()) for name, each in controls.items()},
            )
            for k in config.recall
        }
        best = top_order(
            query.z["trained"],
            target.z["trained"],
            query_ids,
            target_ids,
            k=min(10, len(target_ids)),
            similarity=bench.encoders["trained"].geometry.similarity,
        )
        precision = best.average_precision()
        low, high = bootstrap(precision.numpy(), query_ids.numpy())
        metrics["mAP@10"] = Metric(value=float(precision.mean()), low=low, high=high, count=len(precision))
        return Report(
            evaluator="retrieval",
            title=config.title,
            metrics=metrics,
            primary=f"R@{config.recall[0]}",
            num_rows=len(query_ids),
            missing=[*query.missing, *target.missing],
            facts={
                "pool": len(target_ids),
                "right_answers_per_query": float(ranks.num_right.float().mean()),
                "recall@10_of_all_right": float(best.recall().mean()),
                "median_rank": float(ranks.first.float().median()),
                "tie_rate": ranks.tie_rate(),
            },
            gallery=_gallery(query, target, query_ids, best),
        )


class _Side:
    """Queries or targets: embeddings, what they match by, and how to show them."""

    def __init__(self, modality: str, z: dict[str, Tensor], match: list[str], rows: Rows, captions: list[str]) -> None:
        self.modality, self.z, self.match, self._rows, self._captions = modality, z, match, rows, captions
        self.missing = rows.missing if modality != "text" else []

    @staticmethod
    def read(bench: Bench, config: Any, modality: str) -> _Side:
        """Embed one side of the task."""
        if modality != "text":
            rows, z = bench.media(config.source, config.where, modality)
            return _Side(modality, z, rows.field(config.match), rows, rows.field(config.caption_field))
        other = config.query if config.target == "text" else config.target
        rows, _ = bench.media(config.source, config.where, other)
        pairs = sorted(set(zip(rows.field(config.caption_field), rows.field(config.match), strict=True)))
        captions = [caption for caption, _ in pairs]
        return _Side(modality, bench.texts(captions), [match for _, match in pairs], rows, captions)

    def shown(self, position: int, *, right: bool | None = None) -> Shown:
        """One entry for a gallery."""
        if self.modality == "text":
            return Shown(kind="text", content=self._captions[position], right=right)
        return self._rows.shown(position, self.modality, caption=self._captions[position], right=right)


def _gallery(query: _Side, target: _Side, query_ids: Tensor, best: TopOrder) -> list[Example]:
    examples = []
    for position in range(0, len(query_ids), max(1, len(query_ids) // GALLERY)):
        answers = [
            target.shown(int(place), right=bool(right))
            for place, right in zip(best.positions[position][:ANSWERS], best.right[position], strict=False)
        ]
        examples.append(Example(query=query.shown(position), answers=answers, right=bool(best.right[position][0])))
    return examples[:GALLERY]
