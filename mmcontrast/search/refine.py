"""Train a refiner on the pairs of an index, and measure what it does for rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmcontrast.errors import SearchError
from mmcontrast.export.embedded import texts_of
from mmcontrast.search.index import open_index
from mmcontrast.search.memory import Memory, Neighbours
from mmcontrast.search.refiner import Refiner, RefinerAbout, check_refinable

TEMPERATURE = 0.07
BATCH_ROWS = 256
HELD_OUT = 0.1  # of the pairs, for the measurement
MIN_PAIRS = 40


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained, on what."""

    index: Path
    out: Path
    pair: tuple[str, str] = ("image", "text")
    neighbours: int = 16
    heads: int = 4
    steps: int = 300
    lr: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Direction:
    """Held-out queries of one modality, answered by all pairs' points of the other."""

    asked_with: str
    plain: float  # recall at 1: the nearest row says the same as the query's
    refined: float
    queries: int


def refine(job: Job) -> list[Direction]:
    """Train and write a refiner; return what it does for held-out pairs.

    Raises:
        SearchError: too few pairs, a space without sums, or a folder that is there already.
    """
    if job.out.exists():
        raise SearchError(f"'{job.out}' is there already. Use another --out, or remove it.")
    index = open_index(job.index)
    check_refinable(index)
    memory = Memory(index, job.pair)
    if len(memory.rows) < MIN_PAIRS:
        raise SearchError(
            f"'{job.index}' has {len(memory.rows)} pairs of {', '.join(job.pair)}; {MIN_PAIRS} are needed."
        )
    if index.about.dim % job.heads:
        raise SearchError(f"--heads {job.heads} does not divide the width {index.about.dim}.")
    about = RefinerAbout(
        pair=job.pair, dim=index.about.dim, neighbours=job.neighbours, heads=job.heads, towers=index.about.towers
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        refiner = Refiner(about)
    pairs = _Pairs(memory, job.neighbours)
    order = np.random.default_rng(job.seed).permutation(len(memory.rows))
    held = round(HELD_OUT * len(order))
    _train(refiner, pairs, order[held:], job)
    refiner.eval().requires_grad_(False)
    found = [_measured(refiner, pairs, modality, np.sort(order[:held])) for modality in job.pair]
    refiner.write(job.out)
    return found


class _Pairs:
    """Every pair with its neighbours, its own row left out of them, and what it says as a number."""

    def __init__(self, memory: Memory, count: int) -> None:
        self.memory, rows = memory, memory.rows
        self.z = {name: memory.points(name, rows) for name in memory.pair}
        self.neighbours = {name: memory.neighbours(name, z, count=count, without=rows) for name, z in self.z.items()}
        index = memory.index
        texts = [
            " ".join(texts_of(index.rows[row].fields, index.about.text_field)[:1]) or f"#{row}"
            for row in rows.tolist()
        ]
        self.groups = torch.from_numpy(np.unique(np.array(texts), return_inverse=True)[1])

    def refined(self, refiner: Refiner, modality: str, places: Int64[np.ndarray, " B"]) -> Float[Tensor, "B D"]:
        found: Neighbours = self.neighbours[modality]
        z: Tensor = refiner.fusions[modality](self.z[modality][places], found.points[places], found.real[places])
        return z


def _train(refiner: Refiner, pairs: _Pairs, places: Int64[np.ndarray, " N"], job: Job) -> None:
    """Both sides refined, and each beside the other as it was: RECO's three terms."""
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=job.lr, weight_decay=0.01)
    draws = np.random.default_rng(job.seed)
    a, b = pairs.memory.pair
    for _ in range(job.steps):
        some = draws.permutation(places)[:BATCH_ROWS]
        fine_a, fine_b = (pairs.refined(refiner, name, some) for name in (a, b))
        plain_a, plain_b = pairs.z[a][some], pairs.z[b][some]
        groups = pairs.groups[some]
        terms = [contrast(x, y, groups) for x, y in ((fine_a, fine_b), (fine_a, plain_b), (plain_a, fine_b))]
        optimizer.zero_grad()
        torch.stack(terms).sum().backward()
        optimizer.step()


def contrast(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"], groups: Int64[Tensor, " B"]) -> Float[Tensor, ""]:
    """Symmetric InfoNCE in which rows that say the same are no negatives of each other."""
    logits = a @ b.T / TEMPERATURE
    same = (groups[:, None] == groups[None, :]) & ~torch.eye(len(a), dtype=torch.bool)
    logits = logits.masked_fill(same, float("-inf"))
    rows = torch.arange(len(a))
    return (cross_entropy(logits, rows) + cross_entropy(logits.T, rows)) / 2


def _measured(refiner: Refiner, pairs: _Pairs, modality: str, places: Int64[np.ndarray, " B"]) -> Direction:
    keys, groups = pairs.z[pairs.memory.other(modality)], pairs.groups
    with torch.inference_mode():
        both = pairs.z[modality][places], pairs.refined(refiner, modality, places)
        plain, refined = (
            float((groups[(each @ keys.T).argmax(dim=1)] == groups[places]).double().mean()) for each in both
        )
    return Direction(modality, plain, refined, len(places))
