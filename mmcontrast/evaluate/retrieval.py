"""Retrieval between two modalities, with any number of right answers."""

from __future__ import annotations

from typing import Any, Literal

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
from mmcontrast.evaluate.learners.transport import transport_plan
from mmcontrast.evaluate.metrics.ranks import Ranks, Similarity, TopOrder
from mmcontrast.evaluate.metrics.retrieval import DEPTH, Retrieved, retrieve, retrieve_scores, without_duplicates

ANSWERS = 5  # shown to each example
MOST_CELLS = 1 << 27  # of a transport plan: 1 GB
TRANSDUCTIVE = "balanced recall matches all queries and targets at once, each target having an equal share"


@EVALUATORS.register("retrieval")
class Retrieval(Evaluator):
    """Any-hit recall at k and mean average precision at 10, from one modality to another.

    A target is right when its value of the JSON field ``match`` equals the query's: every row of the same thing, say.
    ``R@k`` asks for any right target among the first k; the share of all right ones among the first 10 is in the
    report's facts.  Captions are the distinct values of ``caption_field``, and equal files of one ``match`` count
    once, so that nothing stands in the pool twice.  Where that field holds lists (COCO's five captions of a picture)
    every caption counts.  Controls: ``text_length`` always answers with the longest caption, ``bag_of_words`` is the
    model on captions whose words are sorted.

    ``balanced`` adds recall of a plan that sends every query's weight to the targets and gives each target an equal
    share (entropic optimal transport at logit scale 100).  It is transductive: a query's answers depend on the other
    queries, so it does not compare with the recall of other papers.

    Source: any-hit recall as in Karpathy and Fei-Fei 2015, arXiv:1412.2306, section 4.2.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        query: str = "text"  # modality asked with
        target: str = "image"  # modality asked for
        match: str = "caption"  # JSON field that makes a target right
        caption_field: str = "caption"  # JSON field of the captions, each a string or a list of them
        equal_captions: Literal["wrong", "right"] = "wrong"  # may a query find another row of exactly its caption?
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        recall: tuple[Count, ...] = (1, 5, 10)
        balanced: bool = False  # also match all queries and targets at once, each target equally often
        examples: NonNegativeCount = 6  # queries shown in reports
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if self.query == self.target:
                raise ValueError("query and target must be two modalities.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return (config.query, config.target)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        names = (*(f"R@{k}" for k in config.recall), f"mAP@{DEPTH}")
        return (*names, *(f"R@{k} balanced" for k in config.recall)) if config.balanced else names

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        query, target = (_Side.read(bench, config, modality) for modality in (config.query, config.target))
        query, lonely = _answerable(query, target, config)
        query_ids, target_ids = _ids(query, target, joined=config.equal_captions == "right")

        def rank(
            who: str, points: Tensor, wanted: Tensor, pool: Tensor | None = None, similarity: Similarity | None = None
        ) -> Retrieved:
            pool = target.z[who] if pool is None else pool
            return retrieve(points, pool, wanted, target_ids, similarity=similarity or bench.similarity(who))

        found = rank("trained", query.z["trained"], query_ids)
        controls = {
            "shuffled": rank("trained", query.z["trained"], shuffled(query_ids)),
            "constant": rank("trained", constant_like(query.z["trained"]), query_ids),
            **{who: rank(who, query.z[who], query_ids) for who in query.z if who != "trained"},
        }
        controls |= _blind_controls(bench, query, target, query_ids, rank)
        ranks, best = found.ranks, found.best
        precision = best.average_precision()
        values = {f"R@{k}": ranks.hits(k).tolist() for k in config.recall} | {f"mAP@{DEPTH}": precision.tolist()}
        balanced, matched = self._balanced(bench, query, target, query_ids, target_ids)
        return self.report(
            metrics=self._metrics(ranks, {who: each.ranks for who, each in controls.items()}, query_ids)
            | {
                f"mAP@{DEPTH}": mean_of(
                    precision,
                    clusters=query_ids,
                    controls={who: float(each.best.average_precision().mean()) for who, each in controls.items()},
                )
            }
            | balanced,
            primary=f"R@{config.recall[0]}",
            num_rows=len(query_ids),
            missing=list(dict.fromkeys([*query.missing, *target.missing, *lonely])),
            notes=above_pool(config.recall, len(target_ids)),
            facts={
                "pool": len(target_ids),
                "right_answers_per_query": float(ranks.num_right.float().mean()),
                f"true_recall@{DEPTH}": float(best.recall().mean()),
                f"nDCG@{DEPTH}": float(best.discounted_gain().mean()),
                "mean_reciprocal_rank": float(ranks.reciprocal().mean()),
                "median_rank": float(ranks.first.float().median()),
                "tie_rate": ranks.tie_rate(),
                **({"transductive": TRANSDUCTIVE} if config.balanced else {}),
            },
            gallery=_gallery(query, target, ranks, best, spread_out(len(query_ids), config.examples)),
            failures=_gallery(query, target, ranks, best, worst(ranks.first, ranks.first > 1, config.examples)),
            per_item=[PerItem(keys=query.keys, values=values | matched, clusters=query.match)],
        )

    def _balanced(
        self, bench: Bench, query: _Side, target: _Side, query_ids: Tensor, target_ids: Tensor
    ) -> tuple[dict[str, Metric], dict[str, list[float]]]:
        """Recall, and each query's, of the transport plan between all queries and all targets, where asked for."""
        if not self.config.balanced:
            return {}, {}
        if len(query_ids) * len(target_ids) > MOST_CELLS:
            raise ConfigError(
                f"balanced: a plan of {len(query_ids):,} x {len(target_ids):,} cells does not fit; the most is "
                f"{MOST_CELLS:,}."
            )
        prior = torch.ones(len(target_ids))

        def ranked(who: str, points: Tensor, wanted: Tensor) -> Ranks:
            scores = bench.similarity(who)(points, target.z[who])
            plan = transport_plan(scores, prior, sharpness=1.0)
            return retrieve_scores(plan.clamp_min(1e-300).log().float(), wanted, target_ids).ranks

        found = ranked("trained", query.z["trained"], query_ids)
        controls = {
            "shuffled": ranked("trained", query.z["trained"], shuffled(query_ids)),
            "constant": ranked("trained", constant_like(query.z["trained"]), query_ids),
            **{who: ranked(who, query.z[who], query_ids) for who in query.z if who != "trained"},
        }
        metrics = {f"{name} balanced": metric for name, metric in self._metrics(found, controls, query_ids).items()}
        return metrics, {f"R@{k} balanced": found.hits(k).tolist() for k in self.config.recall}

    def _metrics(self, ranks: Ranks, controls: dict[str, Ranks], query_ids: Tensor) -> dict[str, Metric]:
        return {
            f"R@{k}": proportion(
                ranks.hits(k),
                chance=ranks.chance(k),
                controls={name: float(each.hits(k).mean()) for name, each in controls.items()},
                clusters=query_ids,
            )
            for k in self.config.recall
        }


class _Side:
    """Queries or targets: embeddings, what they match by, and how to show them."""

    def __init__(
        self, modality: str, z: dict[str, Tensor], *, match: list[str], captions: list[str], rows: Rows | None,
        missing: list[str], numbers: list[int],
    ) -> None:  # fmt: skip
        self.modality, self.z, self.match, self.captions = modality, z, match, captions
        self.missing, self._rows, self._numbers = missing, rows, numbers

    @staticmethod
    def read(bench: Bench, config: Any, modality: str) -> _Side:
        """Embed one side of the task."""
        other = config.query if config.target == "text" else config.target
        rows, z = bench.media(config.source, config.where, other if modality == "text" else modality)
        lists, match = _captions(rows, config.caption_field), rows.field(config.match)
        captions = [each[0] for each in lists]
        if modality == "text":
            pairs = [(caption, name) for each, name in zip(lists, match, strict=True) for caption in each]
            if all(len(each) == 1 for each in lists):
                pairs = sorted(set(pairs))
            captions, match = [caption for caption, _ in pairs], [name for _, name in pairs]
            z = bench.texts(captions)
        side = _Side(
            modality,
            z,
            match=match,
            captions=captions,
            rows=None if modality == "text" else rows,
            missing=rows.missing,
            numbers=list(range(len(match))),
        )
        if modality == "text":
            return side
        first: dict[Any, int] = {}
        for number, content in enumerate(zip(rows.digests(modality), match, strict=True)):
            first.setdefault(content, number)
        return side.keep(list(first.values()))

    @property
    def keys(self) -> list[str]:
        """A name for every entry."""
        if self._rows is not None:
            return [self._rows.items[number].key for number in self._numbers]
        if len(set(self.captions)) == len(self.captions):
            return self.captions
        return [f"{name} {caption}" for name, caption in zip(self.match, self.captions, strict=True)]

    def keep(self, kept: list[int]) -> _Side:
        """Return the side with only these entries."""
        return _Side(
            self.modality,
            {who: points[kept] for who, points in self.z.items()},
            match=[self.match[number] for number in kept],
            captions=[self.captions[number] for number in kept],
            rows=self._rows,
            missing=self.missing,
            numbers=[self._numbers[number] for number in kept],
        )

    def shown(self, place: int, *, right: bool | None = None, score: float | None = None) -> Shown:
        """One entry for a gallery."""
        if self._rows is None:
            return Shown(kind="text", caption=self.captions[place], right=right, score=score)
        number, caption = self._numbers[place], self.captions[place]
        return self._rows.shown(number, self.modality, caption=caption, right=right, score=score)


def _captions(rows: Rows, field: str) -> list[list[str]]:
    """Every row's captions.

    Raises:
        ConfigError: a row has an empty list.
    """
    lists = [
        [str(each) for each in value] if isinstance(value, list) else [str(value)] for value in rows.values(field)
    ]
    empty = next((item.key for item, each in zip(rows.items, lists, strict=True) if not each), None)
    if empty is not None:
        raise ConfigError(f"'{rows.source}' row '{empty}' has no caption in '{field}'.")
    return lists


def _ids(query: _Side, target: _Side, *, joined: bool) -> tuple[Tensor, Tensor]:
    """Numbers of what queries and targets match by."""
    place = {name: number for number, name in enumerate(sorted({*query.match, *target.match}))}
    query_ids = torch.tensor([place[name] for name in query.match])
    target_ids = torch.tensor([place[name] for name in target.match])
    text, ids = (query, query_ids) if query.modality == "text" else (target, target_ids)
    if not joined or text.modality != "text":
        return query_ids, target_ids
    same = dict(zip(ids.tolist(), without_duplicates(text.captions, ids).tolist(), strict=True))
    renamed = [torch.tensor([same.get(int(each), int(each)) for each in group]) for group in (query_ids, target_ids)]
    return renamed[0], renamed[1]


def _blind_controls(bench: Bench, query: _Side, target: _Side, query_ids: Tensor, rank: Any) -> dict[str, Retrieved]:
    """What is found without the order of words, and by the length of captions alone, where one side is text."""
    if query.modality == "text":
        return {name: rank("trained", bags, query_ids) for name, bags in bench.bags(query.captions).items()}
    if target.modality != "text":
        return {}
    nothing = torch.zeros(len(query_ids), 1), torch.zeros(len(target.match), 1)
    return {
        **{
            name: rank("trained", query.z["trained"], query_ids, bags)
            for name, bags in bench.bags(target.captions).items()
        },
        "text_length": rank("trained", nothing[0], query_ids, nothing[1], by_length(target.captions)),
    }


def _answerable(query: _Side, target: _Side, config: Any) -> tuple[_Side, list[str]]:
    """Leave out queries whose every right target failed to decode, and name them."""
    known = set(target.match)
    kept = [number for number, name in enumerate(query.match) if name in known]
    if not kept:
        raise ConfigError(f"'{config.source}': no {config.query} has a {config.target} of equal '{config.match}'.")
    if len(kept) == len(query.match):
        return query, []
    lonely = [
        f"{key}: no {config.target} of equal '{config.match}' is left to be found"
        for key, name in zip(query.keys, query.match, strict=True)
        if name not in known
    ]
    return query.keep(kept), lonely


def _gallery(query: _Side, target: _Side, ranks: Ranks, best: TopOrder, numbers: list[int]) -> list[Example]:
    shown = []
    for number in numbers:
        answers = [
            target.shown(int(place), right=bool(right), score=float(score))
            for place, right, score in zip(
                best.positions[number][:ANSWERS], best.right[number], best.scores[number], strict=False
            )
        ]
        shown.append(Example(query=query.shown(number), answers=answers, rank=int(ranks.first[number])))
    return shown
