"""Composers on queries that they have not seen, beside the plain sum and each part alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.downstream.base import Composer, Judged, Said
from mmcontrast.downstream.towers import Towers
from mmcontrast.downstream.triplets import triplets_of
from mmcontrast.evaluate.metrics.among import Pools

RECALL, SUBSET_RECALL = (1, 5, 10, 50), (1, 2, 3)  # CIRR's and FashionIQ's


@torch.inference_mode()
def judge_composer(head: Composer, towers: Towers, judged: Judged) -> dict[str, float]:
    """Recall of the target, and among the rows that a query lists (``Rs@k``) if all list some.

    A query's own reference is no answer where the reader says so (CIRR), a tie counts against the target.

    Raises:
        HeadError: another model, or no triplets.
    """
    modality = head.config.modality
    head.check_towers(towers.digests, modality, "text", where=towers.location)
    rows = towers.rows(judged.source, (modality,)).where(judged.where).having(modality)
    keep = judged.keep or (None if judged.triplets is not None else head.config.keep)
    triplets = triplets_of(rows, file=judged.triplets, keep=keep, seed=0)
    z, texts = rows.z[modality], towers.texts(triplets.texts)
    references = z[torch.tensor(triplets.references)]
    queries = {
        head.config.registry_name: head.composed(references, Said(triplets.texts, texts, towers.embedder.encoder)),
        "sum": normalize(references + texts, dim=1),
        "reference": references,
        "text": texts,
    }
    targets = [[target] for target in triplets.targets]
    excluded = [
        [row for row in left_out if row != target]
        for left_out, target in zip(triplets.excluded, triplets.targets, strict=True)
    ]
    pools: dict[str, tuple[Pools, tuple[int, ...]]] = {"R": (Pools(len(rows), targets, excluded), RECALL)}
    if triplets.subsets:
        subsets = [list(each) for each in triplets.subsets]
        pools["Rs"] = (Pools(len(rows), targets, excluded, subsets), SUBSET_RECALL)
    found: dict[str, float] = {}
    for name, (pool, ks) in pools.items():
        ranks = {who: pool.rank(query, z, similarity=_dot) for who, query in queries.items()}
        found |= {
            f"{who} {name}@{k}": float(among.hits(k).double().mean()) for k in ks for who, among in ranks.items()
        }
    return found | {"rows": len(triplets)}


def _dot(queries: Tensor, targets: Tensor) -> Tensor:
    return queries @ targets.T
