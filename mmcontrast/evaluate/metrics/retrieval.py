"""Retrieval metrics of one direction, from embeddings or scores, with any number of right answers.

Letters: Q queries, M targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.compat import check_compat
from mmcontrast.evaluate.metrics.finite import check_finite
from mmcontrast.evaluate.metrics.ranks import Ranks, Similarity, TopOrder, rank_and_order

DEPTH = 10  # of mAP, nDCG and true recall


@dataclass(frozen=True)
class Retrieved:
    """One direction, query by query."""

    ranks: Ranks
    best: TopOrder  # the first DEPTH targets

    def recall_any(self, k: int) -> Float[Tensor, " Q"]:
        """1 where any right target is among the first k: what CLIP papers call recall at k."""
        return self.ranks.hits(k)

    def recall_true(self) -> Float[Tensor, " Q"]:
        """Share of all right targets among the first 10."""
        return self.best.recall()

    def summary(self, recall: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
        """Every metric's mean over the queries; k above the pool counts every query as found."""
        means = {f"R@{k}": self.recall_any(k) for k in recall} | {
            f"mAP@{DEPTH}": self.best.average_precision(),
            f"nDCG@{DEPTH}": self.best.discounted_gain(),
            f"true_recall@{DEPTH}": self.recall_true(),
            "MRR": self.ranks.reciprocal(),
        }
        first = self.ranks.first.double()
        return {name: float(values.double().mean()) for name, values in means.items()} | {
            "median_rank": float(first.median()),
            "mean_rank": float(first.mean()),
            "tie_rate": self.ranks.tie_rate(),
        }


def retrieve(
    queries: Float[Tensor, "Q D"],
    targets: Float[Tensor, "M D"],
    query_ids: Int[Tensor, " Q"],
    target_ids: Int[Tensor, " M"],
    *,
    similarity: Similarity,
) -> Retrieved:
    """Rank targets for every query; a target is right when its id equals the query's.

    Raises:
        MetricError: NaN, or a query without a right answer.
    """
    k = min(DEPTH, len(targets))
    return Retrieved(*rank_and_order(queries, targets, query_ids, target_ids, k=k, similarity=similarity))


def retrieve_scores(
    scores: Float[Tensor, "Q M"], query_ids: Int[Tensor, " Q"], target_ids: Int[Tensor, " M"]
) -> Retrieved:
    """The same from a table of scores."""
    check_finite(scores, what="scores", axes=("query", "target"))
    if scores.shape != (len(query_ids), len(target_ids)):
        raise MetricError(f"scores are {tuple(scores.shape)} for {len(query_ids)} queries, {len(target_ids)} targets.")
    numbers = torch.arange(len(query_ids), dtype=torch.float32)[:, None]

    def rows(queries: Tensor, _: Tensor) -> Tensor:
        return scores[queries[:, 0].long()].float()  # indexing copies

    return retrieve(numbers, torch.zeros(len(target_ids), 1), query_ids, target_ids, similarity=rows)


def without_duplicates(captions: list[str], ids: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Ids under which equal captions of different pictures or clips are right for each other.

    The same words describe both, and no model can tell which was meant: everything joined by a chain of equal
    captions gets one id.
    """
    parent = {int(each): int(each) for each in ids}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[str, int] = {}
    for caption, number in zip(captions, ids.tolist(), strict=True):
        words = " ".join(caption.lower().split())
        parent[root(number)] = root(first.setdefault(words, number))
    return torch.tensor([root(number) for number in ids.tolist()])


def recall_any_compat(
    scores: Float[Tensor, "Q M"],
    query_ids: Int[Tensor, " Q"],
    target_ids: Int[Tensor, " M"],
    *,
    k: int,
    compat: str,
) -> float:
    """Any-hit recall with a peer's order among equal scores: torch.topk's, or torch.argsort's over the whole row.

    Raises:
        MetricError: k above the pool, where the peers stop too, or several right answers under ``open_clip``.
    """
    check_compat(compat, ("clip_benchmark", "open_clip"), metric="recall at k")
    right = query_ids[:, None] == target_ids[None]
    if k > scores.shape[1]:
        raise MetricError(f"compat '{compat}': k = {k} is above the pool of {scores.shape[1]}.")
    if compat == "open_clip":
        if not (right.sum(dim=1) == 1).all():
            raise MetricError("compat 'open_clip' knows one right answer a query.")
        order = scores.argsort(dim=1, descending=True)[:, :k]
    else:
        order = scores.topk(k, dim=1).indices
    return float(right.gather(1, order).any(dim=1).double().mean())


def average_precision_compat(
    scores: Float[Tensor, "Q M"], query_ids: Int[Tensor, " Q"], target_ids: Int[Tensor, " M"], *, compat: str
) -> Float[Tensor, " Q"]:
    """Average precision at 10 as LAION-CLAP's and Mei et al.'s code have it.

    Both add up (number of right answers so far) / rank over the right answers with a rank up to 10, and divide by
    all right answers.  ``mei`` takes them by rank; ``laion`` in the file's order, so that a query can exceed 1.
    """
    check_compat(compat, ("laion", "mei"), metric="average precision at 10")
    order = scores.argsort(dim=1, descending=True)
    places = torch.empty_like(order)
    places.scatter_(1, order, torch.arange(scores.shape[1]).expand_as(order).contiguous())
    result = []
    for row, wanted in zip(places, query_ids, strict=True):
        found = row[target_ids == wanted]
        total = len(found)
        found = found[found < DEPTH]
        found = found.sort().values if compat == "mei" else found
        result.append((torch.arange(1, len(found) + 1) / (found + 1)).sum() / total)
    return torch.stack(result)
